//! Signs what leaves, once for each form in which it does.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use super::Message;
use crate::mail::outcome::Diagnosis;
use crate::observe::stage::Stage;
use crate::shard::Shard;
use crate::wire::status::EnhancedStatus;
use crate::world::World;

/// The signature fields of a message, where it was signed: of its content as it came, and of its
/// content converted to seven bits. A copy of it in memory keeps them, also when keys change.
#[derive(Debug, Default)]
pub(in crate::shard) struct Signatures {
    original: OnceCell<Rc<[u8]>>,
    converted: OnceCell<Rc<[u8]>>,
}

/// What came of signing, since the start.
#[derive(Default)]
pub(in crate::shard) struct Tally {
    /// Messages that were signed.
    pub(in crate::shard) signed: Cell<u64>,
    /// Messages that have a key and could not be signed.
    pub(in crate::shard) faults: Cell<u64>,
    /// Signatures that we could not verify ourselves.
    pub(in crate::shard) unproven: Cell<u64>,
}

impl Signatures {
    fn of(&self, converted: bool) -> &OnceCell<Rc<[u8]>> {
        if converted {
            &self.converted
        } else {
            &self.original
        }
    }

    /// Those that were made already.
    pub(in crate::shard) fn made(&self, converted: bool) -> Option<Rc<[u8]>> {
        self.of(converted).get().map(Rc::clone)
    }
}

impl<W: World> Shard<W> {
    /// True when there are keys to sign with.
    pub(in crate::shard) fn signs(&self) -> bool {
        !self.settings.borrow().signers.is_empty()
    }

    /// The signature fields to stand before `wire`; empty where there is no key for its author.
    pub(in crate::shard) async fn sign(
        &self,
        message: &Message,
        wire: Vec<u8>,
        converted: bool,
    ) -> Result<Rc<[u8]>, Diagnosis> {
        let _charge = self.budget.charge(wire.len());
        let signers = Arc::clone(&self.settings().signers);
        let began = self.world.now();
        let signed = match self.world.sign(signers, wire).await {
            Ok(signed) => signed,
            Err(fault) => {
                increment(&self.signing.faults);
                self.warn(format_args!("{}: not signed: {fault}", message.id));
                return Err(cannot_sign());
            }
        };
        self.record(Stage::Sign, self.world.now().since(began));
        if signed.is_proven == Some(false) {
            increment(&self.signing.unproven);
            self.warn(format_args!(
                "{}: its DKIM signature does not verify here",
                message.id
            ));
        }
        if !signed.fields.is_empty() {
            increment(&self.signing.signed);
        }
        let fields: Rc<[u8]> = signed.fields.into();
        // Another delivery of the same message may have been faster: either's will do.
        Ok(Rc::clone(
            message.signatures.of(converted).get_or_init(|| fields),
        ))
    }
}

fn increment(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

fn cannot_sign() -> Diagnosis {
    Diagnosis::ours(
        SECURITY_FEATURE,
        "this message cannot be signed with DKIM now",
    )
}

/// Security features not supported (RFC 3463 §3.8), for now.
const SECURITY_FEATURE: EnhancedStatus = EnhancedStatus::new(4, 7, 3);
