//! What cron jobs, scripts and mail readers call.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use crate::support::{Relay, Scene, Script, eventually};

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn script_pipes_a_message_to_a_recipient() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    let words = "Subject: done\nBcc: secret@c.test\n\n.all\nis well\n.\nnot sent\n";
    let output = relay.run_with(
        &["sendmail", "-f", "ann@c.test", "-F", "Ann", "b@d.test"],
        words,
    );
    assert_eq!(code(&output), Some(0), "{}", errors(&output));
    let message = &mx.wait_for(1)[0];
    assert!(message.is_for("b@d.test"));
    let text = String::from_utf8_lossy(&message.content()).into_owned();
    for wanted in [
        "\r\nDate: ",
        "\r\nMessage-ID: <",
        "\"Ann\" <ann@c.test>\r\n",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(text.ends_with("\r\n\r\n.all\r\nis well\r\n"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn recipients_are_read_from_the_header_and_from_the_words() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    let words = "To: b@d.test, \"C, c\" <c@d.test>\nBcc: e@d.test\n\n.\nbody\n";
    let output = relay.run_with(
        &["sendmail", "-t", "-oi", "-f", "<>", "f@d.test", "b@d.test"],
        words,
    );
    assert_eq!(code(&output), Some(0), "{}", errors(&output));
    let message = &mx.wait_for(1)[0];
    for to in ["b@d.test", "c@d.test", "e@d.test", "f@d.test"] {
        assert!(message.is_for(to), "{to}");
    }
    assert!(message.content().ends_with(b"\r\n\r\n.\r\nbody\r\n"));
}

#[test]
fn exit_codes_say_what_was_wrong() {
    let (scene, _mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("[[route]]\ndomain = \"closed.test\"\nto = \"reject\"");
    let send = |arguments: &[&str]| relay.run_with(&[&["sendmail"], arguments].concat(), "\nx\n");
    assert_eq!(code(&send(&[])), Some(64), "nobody is named");
    assert_eq!(code(&send(&["a b@d.test"])), Some(64));
    assert_eq!(code(&send(&["-N", "sometimes", "b@d.test"])), Some(64));
    assert_eq!(code(&send(&["-bd"])), Some(64));
    let refused = send(&["b@closed.test"]);
    assert!(
        code(&refused).is_some_and(|code| code != 0 && code != 75),
        "{refused:?}"
    );
    assert!(
        errors(&refused).contains("b@closed.test"),
        "{}",
        errors(&refused)
    );
}

#[test]
fn relay_is_down_while_mail_is_sent() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    relay.terminate();
    let output = relay.run_with(
        &["sendmail", "-f", "a@c.test", "b@d.test"],
        "Subject: late\n\nx\n",
    );
    assert_eq!(code(&output), Some(0), "{}", errors(&output));
    assert!(errors(&output).contains("waits in"), "{}", errors(&output));
    let maildrop = relay.data().join("maildrop");
    assert_eq!(fs::read_dir(&maildrop).expect("it is there").count(), 1);
    fs::write(maildrop.join("0.mail"), "no envelope").expect("written");
    relay.restart();
    assert!(mx.wait_for(1)[0].content().ends_with(b"\r\n\r\nx\r\n"));
    eventually(
        "what was sent is gone, and what is no mail put aside",
        || {
            let left: Vec<_> = fs::read_dir(&maildrop)
                .expect("it is there")
                .flatten()
                .collect();
            (left.len() == 1 && left[0].file_name() == "0.refused").then_some(())
        },
    );
    relay.log_line(&["0.refused", "not sent"]);
}

#[test]
fn mail_reader_speaks_smtp_over_pipes() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    let said = "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nDATA\r\n\r\nx\r\n.\r\nQUIT\r\n";
    let output = relay.run_with(&["sendmail", "-bs"], said);
    assert_eq!(code(&output), Some(0), "{}", errors(&output));
    let heard = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        heard.starts_with("220 ") && heard.contains("\r\n221 "),
        "{heard}"
    );
    assert_eq!(mx.wait_for(1).len(), 1);
}

/// The binary under another name, as packages install it.
fn called(relay: &Relay, name: &str, arguments: &[&str], input: &str) -> Output {
    let link = relay.data().join(name);
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_ringpost"), &link).expect("a link");
    }
    let mut child = Command::new(link)
        .arg("-C")
        .arg(relay.config_path())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut pipe = child.stdin.take().expect("a pipe");
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    let mut output = Output {
        status: child.wait().expect("it ends"),
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let _ = out
        .as_mut()
        .map(|pipe| pipe.read_to_end(&mut output.stdout));
    let _ = err
        .as_mut()
        .map(|pipe| pipe.read_to_end(&mut output.stderr));
    output
}

#[test]
fn program_is_called_sendmail_and_mailq() {
    let (scene, mx) = Scene::with_mx(Script::new().says("RCPT TO", "451 4.3.0 busy"));
    let relay = scene.relay("queue.retry = [\"1h\"]");
    let output = called(
        &relay,
        "sendmail",
        &["-oem", "-odb", "-fa@c.test", "b@d.test"],
        "\nx\n",
    );
    assert_eq!(code(&output), Some(0), "{}", errors(&output));
    relay.log_line(&["status=deferred"]);
    let listed = called(&relay, "mailq", &[], "");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.contains("b@d.test"), "{text}");
    mx.behaves(Script::new());
    assert_eq!(code(&called(&relay, "sendmail", &["-q"], "")), Some(0));
    assert_eq!(mx.wait_for(1).len(), 1);
    assert_eq!(code(&called(&relay, "newaliases", &[], "")), Some(0));
}
