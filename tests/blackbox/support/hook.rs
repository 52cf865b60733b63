//! A web server that takes events, once it likes to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What was posted in one request that was answered.
#[derive(Clone, Debug)]
pub struct Posted {
    pub id: String,
    pub events: Vec<Value>,
    /// How it was answered.
    pub status: u16,
}

/// The server. It checks the signature of whatever comes.
pub struct Hook {
    pub address: SocketAddr,
    status: Arc<Mutex<u16>>,
    posted: Arc<Mutex<Vec<Posted>>>,
}

/// What its requests are signed with, as a file has it.
pub const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

impl Hook {
    /// A server that answers with this status until it is told another one.
    pub fn start(at: SocketAddr, status: u16) -> Self {
        let listener = TcpListener::bind(at).expect("a port for the webhook");
        let hook = Self {
            address: listener.local_addr().expect("a bound socket"),
            status: Arc::new(Mutex::new(status)),
            posted: Arc::default(),
        };
        let (status, posted) = (Arc::clone(&hook.status), Arc::clone(&hook.posted));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (status, posted) = (Arc::clone(&status), Arc::clone(&posted));
                thread::spawn(move || serve(stream, &status, &posted));
            }
        });
        hook
    }

    pub fn answers(&self, status: u16) {
        *self.status.lock().expect("no panic") = status;
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().expect("no panic").clone()
    }

    /// The events that it took, in their order, without those that came once more.
    pub fn taken(&self) -> Vec<Value> {
        let mut taken: Vec<Value> = Vec::new();
        let good = self.posted().into_iter().filter(|one| one.status == 200);
        for event in good.flat_map(|one| one.events) {
            if !taken.iter().any(|known| known["id"] == event["id"]) {
                taken.push(event);
            }
        }
        taken
    }
}

fn serve(mut stream: TcpStream, status: &Mutex<u16>, posted: &Mutex<Vec<Posted>>) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    let (head, body) = loop {
        match stream.read(&mut buffer) {
            Ok(len) if len > 0 => request.extend_from_slice(&buffer[..len]),
            _ => return,
        }
        let Some(end) = memchr::memmem::find(&request, b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let len: usize = field(&head, "content-length").parse().expect("a length");
        if request.len() >= end + 4 + len {
            break (head, request.split_off(end + 4));
        }
    };
    assert_eq!(field(&head, "content-type"), "application/json");
    let (id, seconds) = (
        field(&head, "webhook-id"),
        field(&head, "webhook-timestamp"),
    );
    let key = STANDARD.decode(&SECRET[6..]).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = [format!("{id}.{seconds}.").as_bytes(), &body].concat();
    let signature = field(&head, "webhook-signature");
    let signature = STANDARD.decode(signature.strip_prefix("v1,").expect("v1"));
    let is_genuine = hmac::verify(&key, &signed, &signature.expect("base64")).is_ok();
    let status = if is_genuine {
        *status.lock().expect("no panic")
    } else {
        401
    };
    let events = serde_json::from_slice(&body).expect("a JSON array");
    posted
        .lock()
        .expect("no panic")
        .push(Posted { id, events, status });
    // The relay may be gone.
    let _ = write!(stream, "HTTP/1.1 {status} so\r\nContent-Length: 0\r\n\r\n");
}

fn field(head: &str, name: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
    found
        .next()
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}
