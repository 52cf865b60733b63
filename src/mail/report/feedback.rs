//! Complaints: what a provider's users say of mail (RFC 5965, types of RFC 6430 and RFC 6591 too).

use super::fields::{blocks, plain};

/// A complaint, or another word on a message: what is acted upon. What else a report says (its domain,
/// how many it stands for) is its sender's word alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// What it is about.
    pub kind: Kind,
    /// The reverse path of the message.
    pub original_mail_from: Option<String>,
    /// Whom the message was for.
    pub original_rcpt_to: Vec<String>,
}

/// What a report is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Unwanted mail.
    #[default]
    Abuse,
    /// Fraud or phishing.
    Fraud,
    /// A virus.
    Virus,
    /// A list that somebody wants to leave (drafts of RFC 5965: `opt-out`, `opt-out-list`).
    OptOut,
    /// It was taken for spam, and is none.
    NotSpam,
    /// A check of who sent it failed (RFC 6591): that is no complaint.
    AuthFailure,
    /// None of those.
    Other,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Abuse,
        Self::Fraud,
        Self::Virus,
        Self::OptOut,
        Self::NotSpam,
        Self::AuthFailure,
        Self::Other,
    ];

    /// Its name in reports, events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abuse => "abuse",
            Self::Fraud => "fraud",
            Self::Virus => "virus",
            Self::OptOut => "opt-out",
            Self::NotSpam => "not-spam",
            Self::AuthFailure => "auth-failure",
            Self::Other => "other",
        }
    }

    /// Whether whoever sent it wants no more mail.
    #[must_use]
    pub const fn is_complaint(self) -> bool {
        matches!(self, Self::Abuse | Self::Fraud | Self::Virus | Self::OptOut)
    }

    fn parse(text: &str) -> Self {
        match &*plain(text).to_ascii_lowercase() {
            "opt-out-list" => Self::OptOut,
            word => {
                let mut all = Self::ALL.into_iter();
                all.find(|kind| kind.name() == word).unwrap_or(Self::Other)
            }
        }
    }
}

impl Feedback {
    /// Reads the part for programs; `None` where that has no type, so that nothing can be done with it.
    /// What version it says is of no matter: fields that are not known are passed over (§3.6).
    pub(super) fn read(text: &str) -> Option<Self> {
        // RFC 5965 has one block; some senders put an empty line among their fields.
        let blocks: Vec<_> = blocks(text).collect();
        let all = |name: &'static str| {
            let blocks = blocks.iter();
            blocks.flat_map(move |block| block.all(name).map(str::to_owned).collect::<Vec<_>>())
        };
        let kind = all("Feedback-Type").next()?;
        Some(Self {
            kind: Kind::parse(&kind),
            original_mail_from: all("Original-Mail-From").next().map(|text| path(&text)),
            original_rcpt_to: all("Original-Rcpt-To")
                .take(RECIPIENTS_MAX)
                .map(|text| path(&text))
                .collect(),
        })
    }

    /// The addresses in its fields.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        let from = self.original_mail_from.iter();
        from.chain(&self.original_rcpt_to).map(|text| &**text)
    }
}

/// `<a@b>`, `a@b`, with comments or without.
fn path(text: &str) -> String {
    plain(text).trim_matches(['<', '>']).trim().to_owned()
}

/// Fields of one name that count.
const RECIPIENTS_MAX: usize = 100;
