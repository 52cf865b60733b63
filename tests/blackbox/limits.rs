//! Limits reached: who is told what, and what goes on.

use crate::support::{Client, Scene, Script, eventually, message, never};

/// Half a message, which waits for the rest.
fn half(client: &mut Client, octets: usize) {
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<b@d.test>").is("250 ");
    client.command("DATA").is("354 ");
    let line = [b'x'; 98];
    let line = [&line[..], b"\r\n"].concat();
    client.send(b"Subject: half\r\n\r\n");
    client.send(line.repeat(octets / line.len()));
}

#[test]
fn messages_that_all_grow_at_once_stay_within_the_budget() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("runtime.memory = \"16MiB\"\nsmtp.max_connections_per_client = 1000");
    let budget = f64::from(16 << 20);
    assert!((relay.metric("ringpost_memory_limit_bytes", "") - budget).abs() < 1.0);
    // Begun small, while there was room for each; together they want 40 MiB.
    let mut crowd: Vec<Client> = (0..400).map(|_| relay.client()).collect();
    for client in &mut crowd {
        half(client, 1000);
    }
    let line = [b'y'; 98];
    let rest = [&line[..], b"\r\n"].concat().repeat(1000);
    let mut most: f64 = 0.0;
    for client in &mut crowd {
        // What is not read fills the socket, and that is what waiting means.
        client.stream().set_nonblocking(true).unwrap();
        let _ = client.try_send(&rest);
        most = most.max(relay.metric("ringpost_memory_used_bytes", ""));
    }
    let one = f64::from(1 << 20);
    assert!(most > budget / 2.0, "the budget was not reached: {most}");
    assert!(most < budget + one, "{most} octets of {budget}");
    // Those who waited for too long have given back what they held, and hear so at their end.
    let mut told = 0;
    for client in &mut crowd {
        client.stream().set_nonblocking(false).unwrap();
        let ended = client.try_send(b"\r\n.\r\n");
        told += usize::from(ended && client.try_reply() == Some(452));
    }
    assert!(told > 0, "nobody was told");
    drop(crowd);
    let used = || (relay.metric("ringpost_memory_used_bytes", "") < one).then_some(());
    eventually("all of it is given back", used);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("as before"));
    mx.wait_for_mail_to("b@d.test");
}

/// Clients that have begun a message and fallen silent hold all of the memory: they give way, those
/// first who have been silent for longest, and hear of it should they ever go on.
#[test]
fn half_messages_make_way_for_whole_ones() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("runtime.memory = \"16MiB\"\nsmtp.max_connections_per_client = 1000");
    let is_full = || relay.metric("ringpost_memory_used_bytes", "") >= f64::from(16 << 20);
    let mut crowd = Vec::new();
    while !is_full() {
        let mut client = relay.client();
        half(&mut client, 120 << 10);
        crowd.push(client);
        assert!(crowd.len() < 200, "the budget was not reached");
    }
    // Sooner than a sender is refused after.
    let began = std::time::Instant::now();
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("whole"));
    assert!(began.elapsed() < std::time::Duration::from_secs(9));
    mx.wait_for_mail_to("b@d.test");
    let shed = relay.metric("ringpost_messages_shed_total", "");
    assert!(shed >= 1.0, "{shed}");
    let codes: Vec<_> = crowd
        .iter_mut()
        .map(|client| {
            assert!(client.try_send(b"\r\n.\r\n"));
            client.try_reply()
        })
        .collect();
    let told = codes.iter().filter(|code| **code == Some(452)).count();
    let taken = codes.iter().filter(|code| **code == Some(250)).count();
    assert!(
        told >= 1 && taken >= 1 && told + taken == crowd.len(),
        "{codes:?}"
    );
}

/// What is on the disk of a message that gave way is room for others at once, and not when its client,
/// who may stay silent for long, hears of it.
#[test]
fn what_gave_way_leaves_the_disk_before_its_client_does() {
    let scene = Scene::new();
    let relay = scene.relay("runtime.memory = \"16MiB\"\nsmtp.max_connections_per_client = 1000");
    let extents = || {
        let spool = std::fs::read_dir(relay.data().join("spool")).unwrap();
        let shards = spool
            .flatten()
            .filter_map(|shard| std::fs::read_dir(shard.path()).ok());
        let names = shards.flat_map(|shard| shard.flatten().map(|file| file.path()));
        names
            .filter(|name| name.extension().is_some_and(|kind| kind == "msg"))
            .count()
    };
    // Silent for longest, so it is the first to give way.
    let mut large = relay.client();
    half(&mut large, 600 << 10);
    eventually("a part of it on the disk", || {
        (extents() == 1).then_some(())
    });
    let mut crowd = Vec::new();
    while relay.metric("ringpost_memory_used_bytes", "") < f64::from(16 << 20) {
        let mut client = relay.client();
        half(&mut client, 120 << 10);
        crowd.push(client);
        assert!(crowd.len() < 200, "the budget was not reached");
    }
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("whole"));
    eventually("the room is free", || (extents() == 0).then_some(()));
    assert!(large.try_send(b"\r\n.\r\n"));
    assert_eq!(large.try_reply(), Some(452));
}

#[test]
fn a_sender_hears_of_so_many_failures_and_the_rest_wait() {
    let refusing = Script::new().says("RCPT TO:<b@d.test>", "550 5.1.1 nobody here");
    let (scene, mx) = Scene::with_mx(refusing);
    let relay = scene.relay("queue.reports_per_sender = 2");
    for number in 0..4 {
        let content = message(&format!("in somebody's name {number}"));
        relay.submit("<a@c.test>", &["<b@d.test>"], &content);
    }
    relay.submit(
        "<other@c.test>",
        &["<b@d.test>"],
        &message("another sender's"),
    );
    relay.log_line(&["a@c.test has had [queue] reports_per_sender in this hour"]);
    let reports = mx.wait_for(3);
    let to = |mailbox| {
        reports
            .iter()
            .filter(|report| report.is_for(mailbox))
            .count()
    };
    assert_eq!((to("a@c.test"), to("other@c.test")), (2, 1));
    never("a third report", || mx.messages().len() > 3);
    // Nothing is forgotten: two have failed and wait to say so.
    let queued = relay.metric("ringpost_messages_queued", "");
    assert!((queued - 2.0).abs() < 0.5, "{queued}");
    assert!(relay.metric("ringpost_accounting_difference", "").abs() < 0.5);
}
