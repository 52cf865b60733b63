use super::*;

fn frame(text: &str) -> Frame {
    let mut framer = crate::imap::frame::Framer::default();
    framer.push(text.as_bytes());
    loop {
        match framer.step() {
            crate::imap::frame::Step::Literal(_) => framer.take_literal(),
            crate::imap::frame::Step::Command(frame) => return frame,
            other => panic!("{text}: {other:?}"),
        }
    }
}

fn read(text: &str) -> Result<Body, &'static str> {
    request(&frame(text))
        .map(|request| request.body)
        .map_err(|unread| unread.why)
}

#[test]
fn what_cannot_be_read_says_what_is_wrong() {
    for (line, why) in [
        ("a\r\n", "No command"),
        ("\r\n", "No command"),
        ("+ NOOP\r\n", "Invalid tag"),
        ("a XYZ\r\n", "Unknown command"),
        ("a NOOP x\r\n", "Invalid arguments"),
        ("a FETCH 0 FLAGS\r\n", "Invalid arguments"),
        ("a FETCH 1 ()\r\n", "Invalid arguments"),
        ("a FETCH 1 (FLAGS\r\n", "Unbalanced quotes or parentheses"),
        ("a STATUS x ()\r\n", "Invalid arguments"),
        ("a SEARCH RETURN (NONSENSE) ALL\r\n", "Invalid arguments"),
        ("a LIST (RECURSIVEMATCH) \"\" *\r\n", "Invalid arguments"),
        ("a APPEND x\r\n", "Invalid arguments"),
        ("a SELECT x y\r\n", "Invalid arguments"),
    ] {
        assert_eq!(read(line).unwrap_err(), why, "{line}");
    }
    let deep = format!(
        "a SEARCH {}ALL{}\r\n",
        "(".repeat(10_000),
        ")".repeat(10_000)
    );
    assert_eq!(read(&deep).unwrap_err(), "Invalid arguments");
    let deep = format!("a SEARCH {}ALL\r\n", "NOT ".repeat(10_000));
    assert_eq!(read(&deep).unwrap_err(), "Invalid arguments");
}

#[test]
fn search_says_what_it_wants_back() {
    let Ok(Body::Search(command, Some(returns))) =
        read("a UID SEARCH RETURN (MIN COUNT SAVE) CHARSET UTF-8 OR $ (UID $ SEEN)\r\n")
    else {
        panic!("no search");
    };
    assert!(returns.min && returns.count && returns.save && !returns.all && !returns.max);
    let CommandBody::Search { criteria, uid, .. } = &*command else {
        panic!("no search");
    };
    assert!(uid);
    let text = format!("{criteria:?}");
    assert_eq!(text.matches("4294967294").count(), 2, "{text}");
    let Ok(Body::Search(_, Some(returns))) = read("a SEARCH RETURN () ALL\r\n") else {
        panic!("no search");
    };
    assert!(returns.all);
    assert!(matches!(
        read("a SEARCH ALL\r\n"),
        Ok(Body::Search(_, None))
    ));
    // A dollar that is searched for is no set.
    let Ok(Body::Search(command, _)) = read("a SEARCH SUBJECT \"$\"\r\n") else {
        panic!("no search");
    };
    assert!(format!("{command:?}").contains("\"$\""));
}

#[test]
fn the_saved_set_is_told_from_others() {
    let Ok(Body::Plain(command)) = read("a STORE $ +FLAGS (\\Seen)\r\n") else {
        panic!("no store");
    };
    let CommandBody::Store { sequence_set, .. } = &*command else {
        panic!("no store");
    };
    assert!(is_saved(sequence_set));
    assert!(!is_saved(&SequenceSet::try_from("1:*").unwrap()));
}

#[test]
fn several_messages_are_appended_at_once() {
    let frame = frame(
        "a APPEND {5}\r\nDraft (\\Seen $x) \" 1-Jan-2024 00:00:00 +0100\" {3}\r\nabc ~{2+}\r\n\0d UTF8 (~{1}\r\ne)\r\n",
    );
    let Ok(Request {
        body: Body::Append(mailbox, messages),
        ..
    }) = request(&frame)
    else {
        panic!("no append: {:?}", request(&frame));
    };
    assert_eq!(mailbox_octets(&mailbox), b"Draft");
    let contents: Vec<&[u8]> = messages
        .iter()
        .map(|message| &frame.text[message.content.clone()])
        .collect();
    assert_eq!(contents, [&b"abc"[..], b"\0d", b"e"]);
    assert_eq!(messages[0].flags.len(), 2);
    assert_eq!(messages[0].saved, Some(1_704_063_600));
    assert_eq!(messages[1].saved, None);
    assert_eq!(
        read("a APPEND x {2}\r\n\0d\r\n").unwrap_err(),
        "Invalid arguments"
    );
}

#[test]
fn list_has_many_options() {
    let Ok(Body::List(listing)) = read(
        "a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (a* \"b %\") RETURN (CHILDREN SPECIAL-USE STATUS (MESSAGES SIZE))\r\n",
    ) else {
        panic!("no list");
    };
    assert!(listing.subscribed && listing.recursive && listing.extended);
    assert!(listing.return_special_use && !listing.return_subscribed);
    assert_eq!(listing.patterns, [&b"a*"[..], b"b %"]);
    assert_eq!(listing.status.unwrap().len(), 2);
    let Ok(Body::List(listing)) = read("a LIST \"x/\" %\r\n") else {
        panic!("no list");
    };
    assert!(!listing.extended);
    assert_eq!(listing.reference, b"x/");
}

#[test]
fn create_names_its_use() {
    let Ok(Body::Create(mailbox, uses)) = read("a CREATE x (USE (\\Sent \\Drafts))\r\n") else {
        panic!("no create");
    };
    assert_eq!(mailbox_octets(&mailbox), b"x");
    assert_eq!(uses, ["\\Sent", "\\Drafts"]);
    assert!(matches!(read("a CREATE x\r\n"), Ok(Body::Create(_, uses)) if uses.is_empty()));
    assert!(read("a CREATE x (USE)\r\n").is_err());
}

#[test]
fn what_outlook_says_as_rfc_1730_has_it_is_understood() {
    for (old, today) in [
        (
            "(UID RFC822.SIZE RFC822.peek)",
            "(UID RFC822.SIZE BODY.PEEK[])",
        ),
        ("RFC822.PEEK", "BODY.PEEK[]"),
    ] {
        let items = |items: &str| match read(&format!("a UID FETCH 3 {items}\r\n")) {
            Ok(Body::Plain(body)) => body,
            other => panic!("{items}: {other:?}"),
        };
        assert_eq!(items(old), items(today), "{old}");
    }
}

#[test]
fn previews_and_limits_are_taken_out() {
    for line in [
        "a FETCH 1 PREVIEW\r\n",
        "a FETCH 1 PREVIEW (LAZY)\r\n",
        "a UID FETCH 1:* (FLAGS PREVIEW (LAZY) BODY.PEEK[HEADER.FIELDS (A B)])\r\n",
        "a FETCH 1 (PREVIEW)\r\n",
    ] {
        assert!(matches!(read(line), Ok(Body::FetchPreview(_))), "{line}");
    }
    assert!(matches!(
        read("a FETCH 1:* (FLAGS) (CHANGEDSINCE 1)\r\n"),
        Ok(Body::Plain(_))
    ));
    assert!(matches!(
        read("a STATUS x (APPENDLIMIT UNSEEN)\r\n"),
        Ok(Body::StatusLimit(_))
    ));
}
