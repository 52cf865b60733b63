//! Whose mail it is: by a field, by who has logged in, by where it came in.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{Client, Relay, Scene, Script, eventually, message};

const TENANTS: &str = "tenants.header = \"X-Tenant\"\ntenants.tag_header = \"X-Tag\"\n\
    tenants.priority_header = \"X-Hurry\"\nevents.log = \"events.jsonl\"\n";

fn with_fields(fields: &str) -> Vec<u8> {
    [fields.as_bytes(), &message("whose")].concat()
}

fn listed(relay: &Relay, selection: &[&str]) -> Vec<Value> {
    let words = [&["queue", "list", "--json"], selection].concat();
    serde_json::from_str(&relay.ask(&words)).expect("a list")
}

#[test]
fn a_field_says_whose_mail_it_is_and_does_not_leave_the_relay() {
    let script = Script::new().says("RCPT TO:<b@", "451 4.2.1 not now");
    let (scene, mx) = Scene::with_mx(script);
    let mut relay = scene.relay(&format!("{TENANTS}queue.retry = [\"1h\"]"));
    let content = with_fields("X-Tenant: shop\r\nx-tag: may\r\n\tsale\r\nX-Hurry: 9\r\n");
    let id = relay.submit("<a@c.test>", &["<b@d.test>"], &content);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("nobody's"));
    relay.log_line(&[&id, "status=deferred"]);
    let one = |selection: &[&str]| {
        let list = listed(&relay, selection);
        list.iter()
            .map(|entry| entry["id"] == id.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(one(&["--tenant", "shop"]), [true]);
    assert_eq!(one(&["--tag", "may sale"]), [true]);
    assert!(one(&["--tenant", "other"]).is_empty());
    // The spool has it too.
    relay.kill();
    relay.restart();
    let list = listed(&relay, &["--tenant", "shop"]);
    assert_eq!(
        (&list[0]["tag"], &list[0]["priority"]),
        (&"may sale".into(), &"high".into())
    );
    mx.behaves(Script::new());
    relay.ask(&["queue", "retry", "--all"]);
    let texts: Vec<String> = mx.wait_for(2).iter().map(|one| one.text()).collect();
    for text in &texts {
        for field in ["X-Tenant", "x-tag", "sale", "X-Hurry"] {
            assert!(!text.contains(field), "{field}: {text}");
        }
    }
    let events = eventually("events say whose it was", || {
        let text = fs::read_to_string(relay.data().join("events.jsonl")).ok()?;
        (text.matches("\"delivered\"").count() == 2).then_some(text)
    });
    assert!(
        events.contains("\"tenant\":\"shop\",\"tag\":\"may sale\""),
        "{events}"
    );
    let label = "tenant=\"other\",result=\"sent\"";
    eventually("nobody configured this tenant", || {
        (relay.metric("ringpost_tenant_recipients_total", label) == 1.0).then_some(())
    });
}

#[test]
fn tenants_have_pools_of_their_own_and_a_field_of_a_stranger_says_nothing() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let [first, second, door] = [100, 101, 102].map(|host| scene.net.host(host));
    let at = SocketAddr::from((door, scene.net.free_port(102)));
    let mut setup = scene.config("");
    setup.extra = format!(
        "{TENANTS}source = [{{ name = \"a\", address = [\"{first}\"], helo = \"a.relay.test\" }},\n\
         {{ name = \"b\", address = [\"{second}\"], helo = \"b.relay.test\" }}]\n\
         pool = [{{ name = \"one\", sources = [\"a\"] }}, {{ name = \"two\", sources = [\"b\"] }}]\n\
         delivery.pool = \"one\"\n\
         tenant = [{{ name = \"shop\", pool = \"two\" }}, {{ name = \"news\", pool = \"two\" }}]\n\
         listener = [{{ protocol = \"smtp\", bind = [\"{}\"] }},\n\
         {{ protocol = \"smtp\", bind = [\"{at}\"], tenant = \"news\" }}]\n",
        setup.smtp
    );
    let relay = Relay::start(setup);
    let submit = |at: SocketAddr, content: &[u8]| {
        let reply = Client::greet(at).submit("<s@c.test>", &["<x@d.test>"], content);
        reply.is("250 ").queue_id()
    };
    let hello = |count: usize| mx.wait_for(count)[count - 1].hello.clone();
    submit(relay.setup.smtp, &with_fields("X-Tenant: shop\r\n"));
    assert!(hello(1).contains("b.relay.test"));
    submit(relay.setup.smtp, &message("nobody's"));
    assert!(hello(2).contains("a.relay.test"));
    submit(at, &message("by its listener"));
    assert!(hello(3).contains("b.relay.test"));
    let told = |words: &[&str]| -> Value {
        let words = [&["explain", "x@d.test", "--json"], words].concat();
        serde_json::from_str(&relay.ask(&words)).expect("JSON")
    };
    assert_eq!(told(&["--tenant", "shop"])["next_hop"], "d.test via two");
    assert_eq!(told(&[])["pool"]["name"], "one");
    let sent = "tenant=\"news\",result=\"sent\"";
    eventually("it is counted", || {
        (relay.metric("ringpost_tenant_recipients_total", sent) == 1.0).then_some(())
    });
}

#[test]
fn a_tenant_sends_more_than_is_taken_of_it_in_a_minute() {
    let (scene, _mx) = Scene::with_mx(Script::new());
    let relay = scene.relay(&format!(
        "{TENANTS}tenant = [{{ name = \"shop\", messages_per_minute = 30 }}]"
    ));
    let submit = |fields: &str| {
        let content = with_fields(fields);
        relay
            .client()
            .submit("<a@c.test>", &["<b@d.test>"], &content)
            .code
    };
    let codes: Vec<u16> = (0..6).map(|_| submit("X-Tenant: shop\r\n")).collect();
    assert_eq!(codes[..3], [250; 3]);
    assert!(codes[3..].contains(&450), "{codes:?}");
    assert_eq!(submit(""), 250, "others are not held up");
}

#[test]
fn haste_is_for_those_who_may_relay_and_goes_on_to_hosts_that_know_of_it() {
    let script = Script::new()
        .with("MT-PRIORITY MIXER")
        .says("RCPT TO:<b@", "451 4.2.1 not now");
    let (scene, mx) = Scene::with_mx(script);
    let mut relay = scene.relay("queue.retry = [\"1h\"]");
    let mut client = relay.client();
    assert!(
        client
            .command("EHLO c.test")
            .text()
            .contains("MT-PRIORITY MIXER")
    );
    client
        .command("MAIL FROM:<a@c.test> MT-PRIORITY=10")
        .is("501 ");
    client
        .command("MAIL FROM:<a@c.test> mt-priority=5")
        .is("250 2.1.0");
    client.command("RCPT TO:<b@d.test>").is("250 ");
    let id = client.data(&message("in haste")).queue_id();
    relay.log_line(&[&id, "status=deferred"]);
    relay.kill();
    relay.restart();
    assert_eq!(listed(&relay, &[])[0]["priority"], "high");
    mx.behaves(Script::new().with("MT-PRIORITY"));
    relay.ask(&["queue", "retry", "--all"]);
    let received = mx.wait_for_mail_to("b@d.test");
    assert!(
        received.mail.contains(" MT-PRIORITY=5"),
        "{}",
        received.mail
    );
    let content = String::from_utf8_lossy(&received.wire);
    assert!(content.contains("\r\n\tpriority 5;\r\n"), "{content}");
}

#[test]
fn a_host_that_does_not_know_of_haste_hears_nothing_of_it() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    let mut client = relay.client();
    client.command("EHLO c.test");
    client
        .command("MAIL FROM:<a@c.test> MT-PRIORITY=-9")
        .is("250 2.1.0");
    client.command("RCPT TO:<b@d.test>").is("250 ");
    client.data(&message("in no haste")).is("250 ");
    let received = mx.wait_for_mail_to("b@d.test");
    assert!(!received.mail.contains("MT-PRIORITY"), "{}", received.mail);
}

#[test]
fn a_stranger_is_told_that_his_haste_counts_for_nothing() {
    let scene = Scene::new();
    let relay = scene
        .relay("smtp.trusted_networks = []\nroute = [{ domain = \"d.test\", to = \"discard\" }]");
    let mut client = relay.client();
    client.command("EHLO c.test");
    client
        .command("MAIL FROM:<a@c.test> MT-PRIORITY=9")
        .is("250 2.3.6 0 ");
    client.command("RSET").is("250 ");
    client
        .command("MAIL FROM:<a@c.test> MT-PRIORITY=-3")
        .is("250 2.1.0");
}
