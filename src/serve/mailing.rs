//! Who gets no mail: the file, and the thread that keeps it.

use super::{EX_CANTCREAT, refused};
use crate::config::Config;
use crate::observe::log::Journal;
use crate::suppress::{self, Suppressions};
use crate::uring::start::Refused;

/// Who gets no mail, from the file, and the thread that keeps it.
pub(super) fn keep_suppressions(
    config: &Config,
    journal: &Journal,
) -> Result<(Suppressions, suppress::Keeper), Refused> {
    let (data, max) = (&config.data_dir, config.suppression.max);
    let started = suppress::Keeper::start(data, max, journal.handle());
    started.map_err(|error| refused(error.to_string(), EX_CANTCREAT))
}
