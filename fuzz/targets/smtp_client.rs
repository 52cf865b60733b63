//! A host that says anything: every recipient comes back exactly once, and what we said before is
//! no command that we did not mean.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use ringpost::smtp::client::{
    ClientSession, Hello, LogIn, Outgoing, OutgoingRecipient, Output, Peer, StartTls, Waits,
};
use ringpost::time::Tick;
use ringpost_fuzz::halves;

fuzz_target!(|octets: &[u8]| {
    let (first, second) = halves(octets);
    let hello = Hello {
        name: "relay.test".into(),
        own_name: Some("relay.test".into()),
        lmtp: false,
        tls: StartTls::Never,
        log_in: LogIn::Never,
    };
    let peer = Peer {
        name: Rc::from("mx.test"),
        address: [192, 0, 2, 1].into(),
    };
    let mut session = ClientSession::new(hello, peer, Waits::default(), Tick(0));
    let recipients = |index| OutgoingRecipient {
        index,
        address: format!("b{index}@d.test").into(),
        ..OutgoingRecipient::default()
    };
    let mut outgoing = Some(Outgoing {
        reverse_path: "a@c.test".into(),
        recipients: (0..3).map(recipients).collect(),
        ..Outgoing::default()
    });
    let mut fates = [0; 3];
    let mut began = false;
    let mut over = false;
    let mut turn = |session: &mut ClientSession, fates: &mut [u32; 3]| {
        while let Some(output) = session.poll_output() {
            match output {
                Output::Send(octets) => {
                    assert!(octets.ends_with(b"\r\n"), "half a line");
                    assert!(octets.is_ascii());
                }
                Output::Ready | Output::Done => match outgoing.take() {
                    Some(outgoing) => {
                        began = true;
                        session.begin(Tick(0), outgoing);
                    }
                    None => session.quit(Tick(0)),
                },
                Output::Body => session.body_sent(Tick(0)),
                Output::Settled { recipient, .. } | Output::Postponed { recipient } => {
                    fates[usize::from(recipient)] += 1;
                }
                Output::Secure | Output::LogIn(_) | Output::Challenge(_) => {
                    unreachable!("never asked for")
                }
                Output::WakeAt(_) => {}
                Output::Close => over = true,
            }
        }
        (began, over)
    };
    turn(&mut session, &mut fates);
    for piece in [first, second] {
        session.handle_input(Tick(0), piece);
        turn(&mut session, &mut fates);
    }
    session.handle_lost(Tick(0), "the end");
    let (began, over) = turn(&mut session, &mut fates);
    assert!(over, "a connection that is lost is over");
    let wanted = u32::from(began);
    assert_eq!(fates, [wanted; 3], "each exactly once");
});
