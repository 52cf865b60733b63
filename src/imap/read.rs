//! Commands. imap-codec has the grammar; for the forms it lacks, the words of a command are sorted
//! out here and what is left goes to it.
//!
//! | Form | What is done |
//! |---|---|
//! | SEARCH RETURN (...) | the list is taken out (RFC 4731) |
//! | `$` | becomes a set that nobody writes, and back (RFC 5182) |
//! | LIST with options | taken apart; each pattern is read by itself (RFC 5258) |
//! | CREATE x (USE (...)) | the list is taken out (RFC 6154) |
//! | several messages in APPEND | each is read by itself (RFC 3502), its content by its place only |
//! | FETCH PREVIEW, STATUS APPENDLIMIT | taken out (RFC 8970, RFC 7889) |
//! | FETCH RFC822.PEEK | becomes BODY.PEEK[]: Outlook still says it as RFC 1730 has it |

use std::ops::Range;

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder as _;
use imap_codec::imap_types::command::{Command, CommandBody};
use imap_codec::imap_types::extensions::binary::LiteralOrLiteral8;
use imap_codec::imap_types::fetch::MacroOrMessageDataItemNames;
use imap_codec::imap_types::flag::Flag;
use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox};
use imap_codec::imap_types::sequence::SequenceSet;
use imap_codec::imap_types::status::StatusDataItemName;

use super::frame::{Frame, probable_tag};
use super::words::{inside, words};

/// A command, and what it is called by.
#[derive(Debug)]
pub struct Request {
    /// Its tag.
    pub tag: String,
    /// What it asks for.
    pub body: Body,
}

/// What a command asks for.
#[derive(Debug)]
pub enum Body {
    /// What imap-codec reads whole.
    Plain(Box<CommandBody<'static>>),
    /// SEARCH, with what is to be returned.
    Search(Box<CommandBody<'static>>, Option<Returns>),
    /// FETCH, with PREVIEW asked for.
    FetchPreview(Box<CommandBody<'static>>),
    /// STATUS, with APPENDLIMIT asked for.
    StatusLimit(Box<CommandBody<'static>>),
    /// APPEND.
    Append(Mailbox<'static>, Vec<Appended>),
    /// CREATE, with the special uses that it names.
    Create(Mailbox<'static>, Vec<String>),
    /// LIST.
    List(Listing),
}

/// One message of APPEND.
#[derive(Debug)]
pub struct Appended {
    /// Its flags.
    pub flags: Vec<Flag<'static>>,
    /// When it is said to have arrived, in seconds since 1970.
    pub saved: Option<i64>,
    /// Where in the frame its content stands.
    pub content: Range<usize>,
}

/// What SEARCH RETURN asks for (RFC 4731, RFC 5182).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    /// The lowest.
    pub min: bool,
    /// The highest.
    pub max: bool,
    /// All.
    pub all: bool,
    /// How many.
    pub count: bool,
    /// Keep them as `$`.
    pub save: bool,
}

/// LIST, with all its options (RFC 5258, RFC 5819, RFC 6154).
#[derive(Debug, Default)]
pub struct Listing {
    /// Only subscribed ones, whether they exist or not.
    pub subscribed: bool,
    /// Only those with a special use.
    pub special_use: bool,
    /// Parents of matches that lie deeper, too.
    pub recursive: bool,
    /// It was asked with options: answers say `CHILDINFO` and `\NonExistent`.
    pub extended: bool,
    /// Say which are subscribed.
    pub return_subscribed: bool,
    /// Say special uses. Without options they are said anyhow.
    pub return_special_use: bool,
    /// What STATUS is to say of each.
    pub status: Option<Vec<StatusDataItemName>>,
    /// What the patterns are relative to.
    pub reference: Vec<u8>,
    /// The patterns.
    pub patterns: Vec<Vec<u8>>,
}

/// A command that could not be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Unread {
    /// What seems to be its tag.
    pub tag: String,
    /// Why.
    pub why: &'static str,
}

/// Reads a command.
pub fn request(frame: &Frame) -> Result<Request, Unread> {
    let unread = |why| Unread {
        tag: probable_tag(&frame.text),
        why,
    };
    let line = frame.text.strip_suffix(b"\r\n").unwrap_or(&frame.text);
    let parts = words(line).ok_or(unread("Unbalanced quotes or parentheses"))?;
    let [tag, name, ..] = &*parts else {
        return Err(unread("No command"));
    };
    if probable_tag(tag).as_bytes() != *tag {
        return Err(unread("Invalid tag"));
    }
    let is_uid = name.eq_ignore_ascii_case(b"UID");
    let verb = if is_uid { parts.get(2) } else { Some(name) };
    let verb = verb.unwrap_or(name).to_ascii_uppercase();
    let body = match &*verb {
        b"APPEND" if !is_uid => append(frame, &parts),
        b"LIST" if !is_uid => list(&parts),
        b"CREATE" if !is_uid => create(&parts),
        b"SEARCH" => search(&parts, usize::from(is_uid) + 2),
        b"FETCH" => fetch(&parts, usize::from(is_uid) + 2),
        b"STATUS" if !is_uid => status(&parts),
        b"STORE" | b"COPY" | b"MOVE" | b"EXPUNGE" | b"SORT" | b"THREAD" => {
            decode(&joined(&with_saved(&parts))).map(|body| Body::Plain(Box::new(body)))
        }
        _ => decode(&frame.text).map(|body| Body::Plain(Box::new(body))),
    };
    let tag = String::from_utf8_lossy(tag).into_owned();
    match body {
        Some(body) => Ok(Request { tag, body }),
        None if is_known(&verb) => Err(unread("Invalid arguments")),
        None => Err(unread("Unknown command")),
    }
}

/// What imap-codec makes of a line that ends in CRLF; all of it, or nothing.
fn decode(line: &[u8]) -> Option<CommandBody<'static>> {
    let Ok((rest, Command { body, .. })) = CommandCodec::default().decode_static(line) else {
        return None;
    };
    rest.is_empty().then_some(body)
}

fn joined<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
    let mut line = parts.join(&b' ');
    line.extend_from_slice(b"\r\n");
    line
}

/// `tag APPEND mailbox [(flags)] ["date"] {n}... [(flags)] ["date"] {n}...`
fn append(frame: &Frame, parts: &[&[u8]]) -> Option<Body> {
    let (head, mut rest) = parts.split_at_checked(3)?;
    let start = frame.text.as_ptr().addr();
    let mut mailbox_read = None;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|word| is_message(word))?;
        let (options, after) = rest.split_at(end);
        let (word, after) = after.split_first()?;
        rest = after;
        let place = word.as_ptr().addr() - start;
        let mut literals = frame.literals.iter();
        let content = literals.find(|literal| literal.start > place)?.clone();
        let is_binary = word.starts_with(b"~");
        let holds_nul = memchr::memchr(0, &frame.text[content.clone()]).is_some();
        if holds_nul && !is_binary {
            return None;
        }
        let mut words: Vec<&[u8]> = head.to_vec();
        // RFC 6855 §4: UTF8 (~{n}...).
        let options = match options.split_last() {
            Some((last, before)) if last.eq_ignore_ascii_case(b"UTF8") => before,
            _ => options,
        };
        words.extend_from_slice(options);
        words.push(b"{1+}\r\nx");
        let CommandBody::Append {
            mailbox,
            flags,
            date,
            message: LiteralOrLiteral8::Literal(_),
        } = decode(&joined(&words))?
        else {
            return None;
        };
        mailbox_read = Some(mailbox);
        messages.push(Appended {
            flags,
            saved: date.map(|date| date.as_ref().timestamp()),
            content,
        });
    }
    Some(Body::Append(mailbox_read?, messages))
}

/// True for a literal, or one in `UTF8`'s parentheses.
fn is_message(word: &[u8]) -> bool {
    let word = word.strip_prefix(b"(").unwrap_or(word);
    word.strip_prefix(b"~").unwrap_or(word).starts_with(b"{")
}

fn create(parts: &[&[u8]]) -> Option<Body> {
    let uses = match parts.get(3) {
        None => Vec::new(),
        Some(list) => {
            let words = inside(list)?;
            let [use_word, uses] = &*words else {
                return None;
            };
            let uses = inside(uses).filter(|_| use_word.eq_ignore_ascii_case(b"USE"))?;
            let text = |word: &&[u8]| String::from_utf8(word.to_vec()).ok();
            uses.iter().map(text).collect::<Option<Vec<_>>>()?
        }
    };
    match decode(&joined(&parts[..parts.len().min(3)]))? {
        CommandBody::Create { mailbox } if parts.len() <= 4 => Some(Body::Create(mailbox, uses)),
        _ => None,
    }
}

fn search(parts: &[&[u8]], at: usize) -> Option<Body> {
    let mut parts = with_saved(parts);
    let mut returns = None;
    if parts.get(at)?.eq_ignore_ascii_case(b"RETURN") {
        returns = Some(read_returns(parts.get(at + 1)?)?);
        parts.drain(at..at + 2);
    }
    let body = decode(&joined(&parts))?;
    Some(Body::Search(Box::new(body), returns))
}

fn read_returns(list: &[u8]) -> Option<Returns> {
    let mut returns = Returns::default();
    for word in inside(list)? {
        match &*word.to_ascii_uppercase() {
            b"MIN" => returns.min = true,
            b"MAX" => returns.max = true,
            b"ALL" => returns.all = true,
            b"COUNT" => returns.count = true,
            b"SAVE" => returns.save = true,
            _ => return None,
        }
    }
    if returns == Returns::default() {
        // RFC 4731 §3.1: an empty list means ALL.
        returns.all = true;
    }
    Some(returns)
}

fn fetch(parts: &[&[u8]], at: usize) -> Option<Body> {
    let mut parts = with_saved(parts);
    let mut preview = false;
    let items = parts.get(at + 1)?.clone();
    if items.eq_ignore_ascii_case(b"PREVIEW") {
        preview = true;
        parts[at + 1] = b"UID".to_vec();
        if parts.get(at + 2).is_some_and(|word| is_lazy(word)) {
            parts.remove(at + 2);
        }
    } else if let Some(words) = inside(&items) {
        let mut kept: Vec<&[u8]> = Vec::new();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(b"PREVIEW") {
                preview = true;
                words.next_if(|word| is_lazy(word));
            } else {
                kept.push(as_today(word));
            }
        }
        if kept.is_empty() && preview {
            kept.push(b"UID");
        }
        let mut list = vec![b'('];
        list.extend_from_slice(&kept.join(&b' '));
        list.push(b')');
        parts[at + 1] = list;
    } else {
        parts[at + 1] = as_today(&items).to_vec();
    }
    let body = decode(&joined(&parts))?;
    let CommandBody::Fetch {
        macro_or_item_names,
        ..
    } = &body
    else {
        return None;
    };
    if let MacroOrMessageDataItemNames::MessageDataItemNames(items) = macro_or_item_names
        && items.is_empty()
    {
        return None;
    }
    let body = Box::new(body);
    Some(if preview {
        Body::FetchPreview(body)
    } else {
        Body::Plain(body)
    })
}

fn as_today(item: &[u8]) -> &[u8] {
    let is_old = item.eq_ignore_ascii_case(b"RFC822.PEEK");
    if is_old { b"BODY.PEEK[]" } else { item }
}

fn is_lazy(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"(LAZY)")
}

fn status(parts: &[&[u8]]) -> Option<Body> {
    let mut parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
    let mut limit = false;
    if let Some(items) = parts.get(3).and_then(|items| inside(items)) {
        let is_limit = |word: &&[u8]| word.eq_ignore_ascii_case(b"APPENDLIMIT");
        limit = items.iter().any(is_limit);
        let kept: Vec<&[u8]> = items.into_iter().filter(|word| !is_limit(word)).collect();
        let mut list = vec![b'('];
        list.extend_from_slice(&kept.join(&b' '));
        list.push(b')');
        parts[3] = list;
    }
    match decode(&joined(&parts))? {
        CommandBody::Status { item_names, .. } if item_names.is_empty() && !limit => None,
        body @ CommandBody::Status { .. } if limit => Some(Body::StatusLimit(Box::new(body))),
        body @ CommandBody::Status { .. } => Some(Body::Plain(Box::new(body))),
        _ => None,
    }
}

/// `LIST [(options)] reference pattern|(patterns) [RETURN (options)]`
fn list(parts: &[&[u8]]) -> Option<Body> {
    let mut listing = Listing::default();
    let mut rest = parts.get(2..)?;
    if let Some(options) = rest.first().and_then(|word| inside(word)) {
        rest = &rest[1..];
        listing.extended = true;
        select_options(&mut listing, &options)?;
    }
    let (reference, patterns, rest) = match rest {
        [reference, patterns, rest @ ..] => (*reference, *patterns, rest),
        _ => return None,
    };
    match rest {
        [] => {}
        [word, options] if word.eq_ignore_ascii_case(b"RETURN") => {
            listing.extended = true;
            return_options(&mut listing, &inside(options)?)?;
        }
        _ => return None,
    }
    let patterns = match inside(patterns) {
        Some(patterns) => {
            listing.extended = true;
            patterns
        }
        None => vec![patterns],
    };
    if patterns.is_empty() || patterns.len() > PATTERNS_MAX {
        return None;
    }
    for pattern in patterns {
        let line = joined(&[&b"t"[..], b"LIST", reference, pattern]);
        let CommandBody::List {
            reference,
            mailbox_wildcard,
        } = decode(&line)?
        else {
            return None;
        };
        listing.reference = mailbox_octets(&reference);
        listing.patterns.push(match mailbox_wildcard {
            ListMailbox::Token(token) => token.as_ref().to_vec(),
            ListMailbox::String(string) => string.as_ref().to_vec(),
        });
    }
    Some(Body::List(listing))
}

fn select_options(listing: &mut Listing, options: &[&[u8]]) -> Option<()> {
    for option in options {
        match &*option.to_ascii_uppercase() {
            b"SUBSCRIBED" => listing.subscribed = true,
            b"SPECIAL-USE" => listing.special_use = true,
            b"RECURSIVEMATCH" => listing.recursive = true,
            b"REMOTE" => {}
            _ => return None,
        }
    }
    // RFC 5258 §3.1: by itself it selects nothing.
    (!listing.recursive || listing.subscribed || listing.special_use).then_some(())
}

fn return_options(listing: &mut Listing, options: &[&[u8]]) -> Option<()> {
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match &*option.to_ascii_uppercase() {
            b"SUBSCRIBED" => listing.return_subscribed = true,
            b"SPECIAL-USE" => listing.return_special_use = true,
            b"CHILDREN" => {}
            b"STATUS" => {
                let line = joined(&[&b"t"[..], b"STATUS", b"x", options.next()?]);
                let CommandBody::Status { item_names, .. } = decode(&line)? else {
                    return None;
                };
                listing.status = Some(item_names.into_owned());
            }
            _ => return None,
        }
    }
    Some(())
}

/// A mailbox name's octets, as the client wrote them.
#[must_use]
pub fn mailbox_octets(mailbox: &Mailbox<'_>) -> Vec<u8> {
    match mailbox {
        Mailbox::Inbox => b"INBOX".to_vec(),
        Mailbox::Other(other) => other.inner().as_ref().to_vec(),
    }
}

/// The words, with `$` replaced wherever a set may stand.
fn with_saved(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    parts.iter().map(|part| replace_saved(part, 0)).collect()
}

fn replace_saved(part: &[u8], depth: usize) -> Vec<u8> {
    if part == b"$" {
        return SAVED.as_bytes().to_vec();
    }
    match inside(part) {
        Some(words) if depth < SAVED_DEPTH_MAX && memchr::memchr(b'$', part).is_some() => {
            let words: Vec<Vec<u8>> = words
                .iter()
                .map(|word| replace_saved(word, depth + 1))
                .collect();
            let mut list = vec![b'('];
            list.extend_from_slice(&words.join(&b' '));
            list.push(b')');
            list
        }
        _ => part.to_vec(),
    }
}

/// True for the set that stands for `$`.
#[must_use]
pub fn is_saved(set: &SequenceSet) -> bool {
    SequenceSet::try_from(SAVED).is_ok_and(|saved| saved == *set)
}

fn is_known(verb: &[u8]) -> bool {
    let verb = String::from_utf8_lossy(verb);
    super::state::VERBS.contains(&&*verb)
}

/// Stands for `$` where imap-codec reads: a set without meaning, since UIDs end before it.
const SAVED: &str = "4294967295,4294967294,4294967295";
/// imap-codec reads keys to this depth too.
const SAVED_DEPTH_MAX: usize = 9;
/// Patterns of one LIST.
const PATTERNS_MAX: usize = 100;

#[cfg(test)]
mod tests;
