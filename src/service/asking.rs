//! Connections to name servers that ask for the AD bit.
//!
//! A resolver says in its answer whether it has checked signatures, but only to those who say in
//! their question that they understand it (RFC 6840 §5.7). hickory does not, unless it checks
//! signatures itself.

use std::net::IpAddr;
use std::pin::Pin;

use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsExchange;
use hickory_resolver::net::{DnsHandle, NetError};
use hickory_resolver::proto::op::DnsRequest;
use hickory_resolver::{ConnectionProvider, PoolContext};

/// Makes the connections.
#[derive(Clone, Default)]
pub(super) struct Asking {
    provider: TokioRuntimeProvider,
    wants_ad: bool,
}

impl Asking {
    /// `wants_ad`: the AD bit is asked for.
    pub(super) fn new(wants_ad: bool) -> Self {
        Self {
            wants_ad,
            ..Self::default()
        }
    }
}

impl ConnectionProvider for Asking {
    type Conn = Connection;
    type FutureConn = Pin<Box<dyn Future<Output = Result<Connection, NetError>> + Send>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        cx: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let exchange = self.provider.new_connection(ip, config, cx)?;
        let wants_ad = self.wants_ad;
        Ok(Box::pin(async move {
            Ok(Connection {
                exchange: exchange.await?,
                wants_ad,
            })
        }))
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.provider
    }
}

/// A connection to one name server.
#[derive(Clone)]
pub(super) struct Connection {
    exchange: DnsExchange<TokioRuntimeProvider>,
    wants_ad: bool,
}

impl DnsHandle for Connection {
    type Response = <DnsExchange<TokioRuntimeProvider> as DnsHandle>::Response;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, mut request: DnsRequest) -> Self::Response {
        request.metadata.authentic_data = self.wants_ad;
        self.exchange.send(request)
    }
}
