//! Commands that ask a running relay: the HTTP client, and what their faults are called.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use crate::file;
use crate::observe::ask::{ORDER_PATIENCE, USER_HEADER};

/// Where a relay's control plane is, as its configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `bind` under `[control]`.
    pub bind: Option<SocketAddr>,
    /// `token_file` there.
    pub token_file: Option<PathBuf>,
    /// The file that the relay has locked while it runs.
    pub lock: Option<PathBuf>,
}

/// Why a command failed: words for standard error and an exit code of sysexits.h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) code: u8,
    pub(super) words: String,
}

impl Complaint {
    pub(super) fn new(code: u8, words: impl Into<String>) -> Self {
        Self {
            code,
            words: words.into(),
        }
    }
}

/// What a command prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The result.
    pub(super) result: String,
    /// A remark, where the result needs one.
    pub(super) remark: Option<String>,
}

impl Answer {
    /// A result as JSON, for programs.
    pub(super) fn json(value: &impl Serialize) -> Result<Self, Complaint> {
        let mut result = serde_json::to_string_pretty(value)
            .map_err(|error| Complaint::new(EX_SOFTWARE, error.to_string()))?;
        result.push('\n');
        Ok(Self {
            result,
            remark: None,
        })
    }
}

/// Prints a command's answer: results to standard output, everything else to standard error.
pub(super) fn print(answer: Result<Answer, Complaint>) -> ExitCode {
    match answer {
        Ok(answer) => {
            if let Some(remark) = answer.remark {
                let _ = writeln!(io::stderr(), "{remark}");
            }
            match io::stdout().write_all(answer.result.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                // `| head` has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
                Err(error) => {
                    let _ = writeln!(io::stderr(), "ringpost: cannot write: {error}");
                    ExitCode::from(EX_IOERR)
                }
            }
        }
        Err(Complaint { code, words }) => {
            let _ = writeln!(io::stderr(), "ringpost: {words}");
            ExitCode::from(code)
        }
    }
}

/// The way to a running relay's control plane.
pub(super) struct Client {
    agent: Agent,
    bind: SocketAddr,
    token: Option<String>,
}

impl Client {
    /// A client of the control plane at `bind`.
    pub(super) fn new(bind: SocketAddr, token: Option<String>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            // A proxy of the environment is for other networks than this.
            .proxy(None);
        Self {
            agent: Agent::new_with_config(config.build()),
            bind,
            token,
        }
    }

    /// A client of the relay at `place`, with its token.
    pub(super) fn of(place: &Place) -> Result<Self, Complaint> {
        let Some(bind) = place.bind else {
            let words = "the configuration has no control plane: set `bind` under [control]";
            return Err(Complaint::new(EX_CONFIG, words));
        };
        let token = match &place.token_file {
            None => None,
            Some(path) => Some(read_token(path)?),
        };
        Ok(Self::new(bind, token))
    }

    /// GET, answered in JSON.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Complaint> {
        let text = self.get_text(path, query)?;
        self.read(&text)
    }

    /// GET, answered in JSON whatever the status is, where somebody answers.
    pub(super) fn get_failing<T: DeserializeOwned>(&self, path: &str) -> Result<T, Complaint> {
        let mut response = self.question(path, &[]).call();
        let response = response.as_mut().map_err(|error| self.unreachable(error))?;
        let text = self.text(response)?;
        // A failure that is none of the relay's own words is one of the way to it.
        self.read(&text)
            .map_err(|complaint| match response.status() {
                status if status.is_success() => complaint,
                status => self.refused(status, &text),
            })
    }

    /// GET, answered in plain text.
    pub(super) fn get_text(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<String, Complaint> {
        self.finish(self.question(path, query).call())
    }

    /// GET, answered line by line for as long as it takes.
    pub(super) fn follow(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut see: impl FnMut(&str) -> Result<(), Complaint>,
    ) -> Result<(), Complaint> {
        let mut response = self.begin(path, query)?;
        for line in BufReader::new(response.body_mut().as_reader()).lines() {
            let line = line.map_err(|error| {
                let words = format!("the relay went away: {error}");
                Complaint::new(EX_UNAVAILABLE, words)
            })?;
            see(&line)?;
        }
        Ok(())
    }

    /// GET, of octets that are copied as they come.
    pub(super) fn copy(&self, path: &str, out: &mut impl io::Write) -> Result<(), Complaint> {
        let mut response = self.begin(path, &[])?;
        let mut body = response.body_mut().as_reader();
        match io::copy(&mut body, out).and_then(|_| out.flush()) {
            // `| head` has seen enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Complaint::new(
                EX_IOERR,
                format!("not all of it came: {error}"),
            )),
            _ => Ok(()),
        }
    }

    /// GET, whose answer is read by the caller and may take its time.
    fn begin(&self, path: &str, query: &[(&str, String)]) -> Result<Response<Body>, Complaint> {
        let request = self.question(path, query);
        let request = request.config().timeout_global(None).build();
        let mut response = request.call().map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let text = self.text(&mut response)?;
        Err(self.refused(response.status(), &text))
    }

    fn question(&self, path: &str, query: &[(&str, String)]) -> RequestBuilder<WithoutBody> {
        let request = self.authorized(self.agent.get(self.address(path)));
        query
            .iter()
            .fold(request, |request, (key, value)| request.query(key, value))
    }

    /// With the token, where there is one.
    fn authorized<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// POST of JSON, answered in JSON.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Complaint> {
        let mut request = self.authorized(self.agent.post(self.address(path)));
        if let Some(user) = user() {
            request = request.header(USER_HEADER, user);
        }
        let text = self.finish(request.send_json(body))?;
        self.read(&text)
    }

    fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.bind)
    }

    fn finish(&self, response: Result<Response<Body>, ureq::Error>) -> Result<String, Complaint> {
        let mut response = response.map_err(|error| self.unreachable(&error))?;
        let text = self.text(&mut response)?;
        match response.status() {
            status if status.is_success() => Ok(text),
            status => Err(self.refused(status, &text)),
        }
    }

    fn text(&self, response: &mut Response<Body>) -> Result<String, Complaint> {
        let body = response.body_mut().with_config().limit(ANSWER_OCTETS_MAX);
        let text = body.read_to_string();
        text.map_err(|error| self.unreachable(&error))
    }

    fn refused(&self, status: StatusCode, text: &str) -> Complaint {
        let said: Option<Refusal> = serde_json::from_str(text).ok();
        let words = said.map_or_else(
            || format!("{} answers {status}", self.bind),
            |refusal| refusal.detail,
        );
        let code = match status.as_u16() {
            400 | 422 => EX_DATAERR,
            401 | 403 => EX_NOPERM,
            404 => EX_NOINPUT,
            503 => EX_TEMPFAIL,
            _ => EX_SOFTWARE,
        };
        Complaint::new(code, words)
    }

    fn unreachable(&self, error: &ureq::Error) -> Complaint {
        let words = format!(
            "no relay answers on {}: {error}\n\
             It is started with `ringpost serve`; its address is `bind` under [control].",
            self.bind
        );
        Complaint::new(EX_UNAVAILABLE, words)
    }

    fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, Complaint> {
        serde_json::from_str(text).map_err(|error| {
            let words = format!(
                "{} is no relay of this version: its answer cannot be read: {error}",
                self.bind
            );
            Complaint::new(EX_PROTOCOL, words)
        })
    }
}

/// Who gives an order, for the relay's record of changes: behind sudo whoever called it.
fn user() -> Option<String> {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    let name = named.filter_map(|name| std::env::var(name).ok());
    let plain =
        |name: &String| !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic());
    { name }.find(plain)
}

fn read_token(path: &Path) -> Result<String, Complaint> {
    let text = file::read_text(path).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied => EX_NOPERM,
            _ => EX_CONFIG,
        };
        Complaint::new(code, format!("{}: {error}", path.display()))
    })?;
    Ok(text.trim().to_owned())
}

#[derive(serde::Deserialize)]
struct Refusal {
    detail: String,
}

/// Without what could steer a terminal: a peer's words may be anything.
pub(super) fn clean(words: &str) -> String {
    words.replace(char::is_control, "?")
}

/// Lays cells out in columns: the first ones as wide as they must be, the last one as it is. What
/// could steer a terminal (a peer's words may be anything) is shown as `?`.
pub(super) fn table<'a, R: Into<Vec<String>>>(
    heads: impl AsRef<[(&'a str, Side)]>,
    rows: impl IntoIterator<Item = R>,
) -> String {
    lay(
        heads.as_ref(),
        rows.into_iter(),
        PAINTS.load(Ordering::Relaxed),
    )
}

fn lay<R: Into<Vec<String>>>(
    heads: &[(&str, Side)],
    rows: impl Iterator<Item = R>,
    paints: bool,
) -> String {
    let cleaned = |row: R| {
        let cells = row.into().into_iter();
        cells.map(|cell| clean(&cell)).collect()
    };
    let rows: Vec<Vec<String>> = rows.map(cleaned).collect();
    let mut widths: Vec<usize> = heads.iter().map(|(head, _)| head.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>, of: &dyn Fn(&str, Side) -> Style| {
        let mut blanks = 0;
        for ((cell, width), (_, side)) in cells.zip(&widths).zip(heads) {
            let style = if paints {
                of(cell, *side)
            } else {
                Style::new()
            };
            let before = width - cell.chars().count();
            let (before, behind) = match side {
                Side::Right => (before, 0),
                Side::Left | Side::State => (0, before),
            };
            if cell.is_empty() {
                blanks += before + behind + 2;
                continue;
            }
            // Nothing at the end of a line. Writing to a String cannot fail.
            let before = blanks + before;
            let _ = write!(text, "{:before$}{style}{cell}{style:#}", "");
            blanks = behind + 2;
        }
        text.push('\n');
    };
    line(&mut heads.iter().map(|(head, _)| *head), &|_, _| {
        Style::new().bold()
    });
    for row in &rows {
        line(&mut row.iter().map(String::as_str), &style);
    }
    text
}

/// How a cell is painted: states by what they ask of whoever reads.
fn style(cell: &str, side: Side) -> Style {
    let color = match (side, cell) {
        (Side::State, "ready" | "in_flight") => AnsiColor::Green,
        (Side::State, "held" | "draining" | "starting") => AnsiColor::Yellow,
        (Side::State, "spool full" | "spool broken") => AnsiColor::Red,
        (Side::State, "removed") => return Style::new().dimmed(),
        _ => return Style::new(),
    };
    color.on_default()
}

/// Tables are painted from now on where standard output is a terminal that shows colours, and nobody has
/// said `NO_COLOR`.
pub(super) fn paint() {
    let choice = AutoStream::choice(&io::stdout());
    PAINTS.store(choice != ColorChoice::Never, Ordering::Relaxed);
}

static PAINTS: AtomicBool = AtomicBool::new(false);

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
    /// Left, and painted by what it says.
    State,
}

/// How long a command waits for the relay: an order may mean a million messages.
const TIMEOUT: Duration = ORDER_PATIENCE.saturating_add(Duration::from_secs(5));
/// How long it waits for anybody to listen.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read: a list of some hundred thousand messages.
const ANSWER_OCTETS_MAX: u64 = 256 * 1024 * 1024;

// sysexits.h
pub(super) const EX_USAGE: u8 = 64;
pub(super) const EX_DATAERR: u8 = 65;
pub(super) const EX_NOINPUT: u8 = 66;
pub(super) const EX_NOUSER: u8 = 67;
pub(super) const EX_UNAVAILABLE: u8 = 69;
pub(super) const EX_SOFTWARE: u8 = 70;
pub(super) const EX_CANTCREAT: u8 = 73;
pub(super) const EX_IOERR: u8 = 74;
pub(super) const EX_TEMPFAIL: u8 = 75;
pub(super) const EX_PROTOCOL: u8 = 76;
pub(super) const EX_NOPERM: u8 = 77;
pub(super) const EX_CONFIG: u8 = 78;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [
            ["a".to_owned(), "12345".to_owned(), "x \x1b[2J".to_owned()],
            ["bcd".to_owned(), "1".to_owned(), String::new()],
        ];
        let heads = [
            ("N", Side::Left),
            ("SIZE", Side::Right),
            ("WHY", Side::Left),
        ];
        assert_eq!(
            table(heads, rows),
            "N     SIZE  WHY\na    12345  x ?[2J\nbcd      1\n"
        );
    }

    #[test]
    fn a_terminal_shows_heads_and_states_in_colour_and_a_pipe_gets_neither() {
        let heads = [
            ("ID", Side::Left),
            ("STATE", Side::State),
            ("N", Side::Right),
        ];
        let rows = [
            ["a", "held", "1"],
            ["held", "waiting", "2"],
            ["\x1b[1m", "ready", ""],
        ];
        let rows = || rows.map(|row| row.map(str::to_owned)).into_iter();
        let plain = lay(&heads, rows(), false);
        assert_eq!(
            plain,
            "ID    STATE    N\na     held     1\nheld  waiting  2\n?[1m  ready\n"
        );
        let painted = lay(&heads, rows(), true);
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), plain);
        for words in [
            "\x1b[1mSTATE\x1b[0m    ",
            "a     \x1b[33mheld\x1b[0m     1\n",
            "held  waiting  2\n",
            "?[1m  \x1b[32mready\x1b[0m\n",
        ] {
            assert!(painted.contains(words), "{words:?} in {painted:?}");
        }
    }

    #[test]
    fn the_configuration_names_no_place_or_no_token() {
        let directory = tempfile::tempdir().expect("a directory");
        let token_file = directory.path().join("token");
        let mut place = Place::default();
        let code = |place: &Place| Client::of(place).err().map(|complaint| complaint.code);
        assert_eq!(code(&place), Some(EX_CONFIG));
        place.bind = Some(([127, 0, 0, 1], 8025).into());
        assert_eq!(code(&place), None);
        place.token_file = Some(token_file.clone());
        assert_eq!(code(&place), Some(EX_CONFIG));
        std::fs::write(&token_file, "secret\n").expect("written");
        let client = Client::of(&place).ok();
        assert_eq!(
            client.and_then(|client| client.token).as_deref(),
            Some("secret")
        );
    }

    #[test]
    fn nobody_listens() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let bind = gone.local_addr().expect("its address");
        drop(gone);
        let complaint = Client::new(bind, None)
            .get_text("/metrics", &[])
            .expect_err("nobody");
        assert_eq!(complaint.code, EX_UNAVAILABLE);
        assert!(complaint.words.contains(&bind.to_string()), "{complaint:?}");
    }
}
