//! When mail is tried again, and when that ends.

use std::time::Instant;

use crate::support::{Mx, QUIET, Relay, Report, Scene, Script, eventually, message, never};

/// `d.test` answers 451 to every recipient, `c.test` takes everything.
fn busy() -> (Scene, Mx, Mx) {
    let scene = Scene::new();
    let peer = scene.mx(1, Script::new().says("RCPT", "451 4.3.0 busy"));
    let home = scene.mx(2, Script::new());
    scene.dns.mx("d.test", &[(10, "mx1.test")]);
    scene.dns.mx("c.test", &[(10, "mx2.test")]);
    (scene, peer, home)
}

fn submit(relay: &Relay, rcpts: &[&str]) {
    relay
        .client()
        .submit("<a@c.test>", rcpts, &message("waiting"))
        .is("250 ");
}

#[test]
fn peer_is_busy_until_the_message_expires() {
    let (scene, peer, home) = busy();
    let relay = scene.relay("queue.expire = \"2s\"");
    submit(&relay, &["<b@d.test>"]);
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    let recipient = report.recipient("b@d.test");
    assert_eq!(
        (recipient.field("Action"), recipient.field("Status")),
        ("failed", "4.4.7")
    );
    assert_eq!(recipient.field("Diagnostic-Code"), "smtp; 451 4.3.0 busy");
    assert!(
        peer.heard("RCPT") >= 2,
        "tried {} times in two seconds",
        peer.heard("RCPT")
    );
    relay.log_line(&["status=expired"]);
    relay.wait_until_empty();
}

#[test]
fn peer_is_busy_and_the_sender_hears_of_it_once() {
    let (scene, peer, home) = busy();
    let relay = scene.relay("queue.delay_notice = \"500ms\"");
    submit(&relay, &["<b@d.test>"]);
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    let recipient = report.recipient("b@d.test");
    assert_eq!(
        (recipient.field("Action"), recipient.field("Status")),
        ("delayed", "4.3.0")
    );
    assert!(!recipient.field("Will-Retry-Until").is_empty());
    never("a second notice", || home.messages().len() > 1);
    peer.behaves(Script::new());
    assert_eq!(peer.wait_for(1)[0].content_as_sent(), message("waiting"));
}

#[test]
fn peer_is_busy_and_the_sender_wants_to_hear_of_failures_only() {
    let (scene, peer, home) = busy();
    let relay = scene.relay("queue.delay_notice = \"200ms\"");
    submit(&relay, &["<b@d.test> NOTIFY=FAILURE"]);
    eventually("some attempts", || (peer.heard("RCPT") >= 3).then_some(()));
    never("a delay notice", || home.connections() > 0);
}

#[test]
fn attempts_are_no_closer_than_the_schedule() {
    let (scene, peer, _home) = busy();
    let relay = scene.relay("queue.retry = [\"1s\"]");
    submit(&relay, &["<b@d.test>"]);
    eventually("the first attempt", || {
        (peer.heard("RCPT") == 1).then_some(())
    });
    let first = Instant::now();
    eventually("the second attempt", || {
        (peer.heard("RCPT") == 2).then_some(())
    });
    assert!(first.elapsed() > QUIET, "again after {:?}", first.elapsed());
}

#[test]
fn one_recipient_waits_and_the_other_does_not() {
    let (scene, peer, _home) = busy();
    peer.behaves(Script::new().says("RCPT TO:<slow@", "450 4.2.1 later"));
    let relay = scene.relay("");
    submit(&relay, &["<slow@d.test>", "<quick@d.test>"]);
    peer.wait_for_mail_to("quick@d.test");
    eventually("the slow one alone again", || {
        (peer.heard("RCPT TO:<slow@") >= 3).then_some(())
    });
    assert_eq!(peer.heard("RCPT TO:<quick@"), 1);
    assert_eq!(relay.queue().len(), 1);
}
