//! Commands of SMTP: what is taken is written as our own client writes it, and reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::smtp::command::{
    AuthArguments, BdatArguments, CommandLine, MailArguments, hello_arguments, rcpt_arguments,
};
use ringpost::wire::codec::{decode_xtext, encode_xtext, is_xtext};

fuzz_target!(|line: &[u8]| {
    let arguments = CommandLine::parse(line).arguments;
    assert!(arguments.len() <= line.len());
    if let Ok(word) = hello_arguments(arguments) {
        assert!(!word.contains(['\r', '\n', '\0', ' ']));
    }
    let _ = AuthArguments::parse(arguments);
    if let Ok(bdat) = BdatArguments::parse(arguments) {
        let last = if bdat.last { " LAST" } else { "" };
        let written = format!("{}{last}", bdat.size);
        assert_eq!(BdatArguments::parse(written.as_bytes()), Ok(bdat));
    }
    if let Ok(mail) = MailArguments::parse(arguments) {
        let utf8 = if mail.smtputf8 { " SMTPUTF8" } else { "" };
        let written = format!("FROM:<{}>{utf8}", mail.reverse_path);
        let again = MailArguments::parse(written.as_bytes()).expect("our own form");
        assert_eq!(again.reverse_path, mail.reverse_path);
        assert!(mail.envid.is_none_or(|envid| is_xtext(envid.as_bytes())));
    }
    for utf8 in [false, true] {
        let Ok(recipient) = rcpt_arguments(arguments, utf8, "relay.test") else {
            continue;
        };
        let written = format!("TO:<{}>", recipient.mailbox);
        let again = rcpt_arguments(written.as_bytes(), utf8, "relay.test").expect("our own form");
        assert_eq!(again.mailbox, recipient.mailbox);
        let printable = |text: &str| !text.contains(['\r', '\n', '\0', ' ']);
        assert!(recipient.orcpt.is_none_or(|orcpt| printable(&orcpt)));
    }
    let written = encode_xtext(line);
    assert!(is_xtext(written.as_bytes()));
    assert_eq!(decode_xtext(&written), line);
});
