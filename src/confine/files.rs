//! Which of the machine's files its threads reach: Landlock. Opens through io_uring obey it too.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, RestrictionStatus,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    make_bitflags, path_beneath_rules,
};

use super::Wall;
use crate::config::Config;

/// Where mail is kept: directories, with all below them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places(Vec<PathBuf>);

/// From now on the calling thread, and each that it starts, changes files below `data` alone, listens
/// on no further TCP port, and signals nobody else.
#[must_use]
pub fn writes(data: &Places) -> Wall {
    judge(write_wall(data))
}

/// From now on the calling thread, and each that it starts, reads files below `data` alone, and of the
/// machine what a running relay looks at.
#[must_use]
pub fn reads(data: &Places) -> Wall {
    judge(read_wall(data))
}

impl Places {
    /// Those of a relay whose data directory is there. What an operator has put elsewhere, with a link
    /// in its place, is part of it: the data directory's own entries, and mailboxes.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let data = &config.data_dir;
        let mailboxes = data.join(&config.mailboxes.dir);
        // Later nobody could make it, were it elsewhere. Whether it can be made now, the first
        // delivery tells.
        let _ = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&mailboxes);
        let links = [data, &mailboxes].into_iter().flat_map(|home| links(home));
        let links: Vec<_> = links
            .filter_map(|link| fs::canonicalize(link).ok())
            .collect();
        let homes = [data.clone(), mailboxes];
        Self(homes.into_iter().chain(links).collect())
    }
}

/// The links in a directory.
fn links(home: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .map(|entry| entry.path())
}

fn write_wall(data: &Places) -> Result<RestrictionStatus, RulesetError> {
    let all = AccessFs::from_write(KNOWN);
    // Regular files and directories. Nothing here makes links by name, pipes, sockets or devices.
    let ours = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    Ruleset::default()
        // Without this (Linux 5.19) no file moves between directories, as mail does in a Maildir.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(&data.0, ours))?
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::WriteFile))?
        // What connections go out from.
        .add_rule(NetPort::new(0, AccessNet::BindTcp))?
        .restrict_self()
}

fn read_wall(data: &Places) -> Result<RestrictionStatus, RulesetError> {
    let program = std::env::current_exe().ok();
    Ruleset::default()
        // No wall lets files move that does not say so, whatever else it is about.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .handle_access(AccessFs::from_read(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(&data.0, READS | AccessFs::Refer))?
        .add_rules(path_beneath_rules(MACHINE, READS))?
        // Names of functions, for the trace of a panic.
        .add_rules(path_beneath_rules(program, READS))?
        .restrict_self()
}

fn judge(status: Result<RestrictionStatus, RulesetError>) -> Wall {
    match status.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Wall::Whole,
        Ok(RulesetStatus::PartiallyEnforced) => Wall::Part,
        Ok(RulesetStatus::NotEnforced) => Wall::None(NEEDS.to_owned()),
        Err(error) => Wall::None(format!("{error}; {NEEDS}")),
    }
}

const NEEDS: &str = "Landlock is needed, which is in Linux 5.19 or later, unless left out of its security modules or refused by a container's seccomp profile";

/// The newest rights that are asked for; of older kernels, what they have.
const KNOWN: ABI = ABI::V6;

const READS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// What is looked at while the relay runs: name servers at the start, time zones, CPUs and disks
/// (the runtime), the process itself, random octets where the kernel's call is missing.
const MACHINE: [&str; 11] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/sys/dev/block",
    "/sys/devices",
    "/sys/fs/cgroup",
    "/proc/self",
    "/proc/sys/kernel",
    "/dev/null",
    "/dev/urandom",
];
