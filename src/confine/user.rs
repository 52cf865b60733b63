//! The user that the relay runs as.

use std::ffi::CString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::Path;

use nix::unistd::{
    Gid, Group, Uid, User, geteuid, getresgid, getresuid, initgroups, setgroups, setresgid,
    setresuid,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{self, CapabilitySet};

use crate::config::Process;

/// A user of this machine, and the group beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    name: Option<CString>,
    user: Uid,
    group: Gid,
}

impl Owner {
    /// Whom `[process]` names; `None` where it names nobody.
    pub fn find(process: &Process) -> Result<Option<Self>, String> {
        let Some(name) = &process.user else {
            return Ok(None);
        };
        let cannot = |error| format!("this machine's users cannot be read: {error}");
        let known = match name.parse() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(name),
        };
        let known = known.map_err(cannot)?;
        let (user, own) = match (&known, name.parse()) {
            (Some(user), _) => (user.uid, Some(user.gid)),
            (None, Ok(number)) => (Uid::from_raw(number), None),
            (None, Err(_)) => {
                return Err(format!(
                    "this machine has no user {name}: `useradd --system {name}` makes one"
                ));
            }
        };
        let group = match &process.group {
            Some(group) => Some(find_group(group)?),
            None => own,
        };
        let group = group.ok_or_else(|| {
            format!("nothing says what group user {name} is in: set [process] group too")
        })?;
        let name = known.and_then(|user| CString::new(user.name).ok());
        Ok(Some(Self { name, user, group }))
    }

    /// Makes the calling process run as this user from now on. With `binds` it may still bind ports
    /// below 1024, if it was root.
    pub fn become_it(&self, binds: bool) -> Result<(), String> {
        if !geteuid().is_root() || self.user.is_root() {
            return self.compare();
        }
        let cannot = |what: &str, error: io::Error| format!("cannot {what} {self}: {error}");
        let kept = if binds {
            CapabilitySet::NET_BIND_SERVICE
        } else {
            CapabilitySet::empty()
        };
        // What a program that it started could have, which it does not do.
        for capability in CapabilitySet::all() {
            // Of those that this kernel does not know there are none to lose.
            let _ = thread::remove_capability_from_bounding_set(capability);
        }
        thread::set_keep_capabilities(binds).map_err(|error| cannot("become", error.into()))?;
        // Those of its groups that keys and certificates may be readable for.
        let groups = match &self.name {
            Some(name) => initgroups(name, self.group),
            None => setgroups(&[self.group]),
        };
        groups.map_err(|error| cannot("take the groups of", error.into()))?;
        setresgid(self.group, self.group, self.group)
            .map_err(|error| cannot("take the group of", error.into()))?;
        // Of all threads at once, should there be more than this one.
        setresuid(self.user, self.user, self.user)
            .map_err(|error| cannot("become", error.into()))?;
        super::hold(kept)
            .map_err(|error| cannot("give up root's capabilities as", error.into()))?;
        thread::set_keep_capabilities(false).map_err(|error| cannot("become", error.into()))?;
        // The kernel does so too, unless sysctl fs.suid_dumpable says otherwise: other processes
        // of this user neither trace this one nor find its memory in a core file.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|error| cannot("keep memory private as", error.into()))?;
        self.compare()
    }

    /// Is that who runs?
    fn compare(&self) -> Result<(), String> {
        let users = getresuid().map_err(|error| format!("cannot tell who runs: {error}"))?;
        let groups = getresgid().map_err(|error| format!("cannot tell who runs: {error}"))?;
        let are_users = [users.real, users.effective, users.saved] == [self.user; 3];
        if are_users && groups.effective == self.group {
            return Ok(());
        }
        Err(format!(
            "[process] names {self}, and this is user {} of group {}: start as root, or as that user, or leave [process] user out",
            users.effective, groups.effective
        ))
    }

    /// Sees that the data directory is this user's; one that is not there is made.
    fn own(&self, data: &Path) -> Result<(), String> {
        let place = data.display();
        if !data.exists() {
            // Mail is for nobody else's eyes.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
            return made
                .and_then(|()| chown(data, Some(self.user.as_raw()), Some(self.group.as_raw())))
                .map_err(|error| format!("cannot make the data directory {place}: {error}"));
        }
        let inside = std::fs::read_dir(data)
            .map_err(|error| format!("cannot read the data directory {place}: {error}"))?;
        let all = inside.flatten().map(|entry| entry.path());
        for path in all.chain([data.to_path_buf()]) {
            let is_foreign =
                std::fs::metadata(&path).is_ok_and(|about| about.uid() != self.user.as_raw());
            if is_foreign {
                return Err(format!(
                    "{} does not belong to {self}: `chown -R {}:{} {place}`",
                    path.display(),
                    self.user,
                    self.group
                ));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "user {}", name.to_string_lossy()),
            None => write!(f, "user {}", self.user),
        }
    }
}

/// Makes a relay that was started as root run as the user of its own, who owns its data. Of what root may do
/// it keeps binding ports, until [`super::give_up`].
pub fn enter(process: &Process, data: &Path) -> Result<Option<Owner>, String> {
    let owner = Owner::find(process)?;
    if let Some(owner) = &owner {
        if geteuid().is_root() && !owner.user.is_root() {
            owner.own(data)?;
        }
        owner.become_it(true)?;
    }
    Ok(owner)
}

/// Makes a command that root has started run as the relay's user: what it writes is the relay's. Others run as
/// who they are.
pub fn follow(process: &Process, data: &Path) -> Result<(), String> {
    match Owner::find(process)? {
        Some(owner) if geteuid().is_root() && !owner.user.is_root() => {
            owner.own(data)?;
            owner.become_it(false)
        }
        _ => Ok(()),
    }
}

/// Does root run this?
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

fn find_group(name: &str) -> Result<Gid, String> {
    let found = match name.parse() {
        Ok(number) => return Ok(Gid::from_raw(number)),
        Err(_) => Group::from_name(name),
    };
    match found {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!("this machine has no group {name}")),
        Err(error) => Err(format!("this machine's groups cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(user: &str, group: Option<&str>) -> Process {
        Process {
            user: Some(user.to_owned()),
            group: group.map(str::to_owned),
            confine: true,
            ..Process::default()
        }
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        let root = Owner::find(&process("root", None)).unwrap().unwrap();
        assert_eq!((root.user.as_raw(), root.group.as_raw()), (0, 0));
        assert_eq!(Owner::find(&process("0", None)).unwrap().unwrap(), root);
        let number = Owner::find(&process("987654", Some("12")))
            .unwrap()
            .unwrap();
        assert_eq!((number.user.as_raw(), number.group.as_raw()), (987_654, 12));
        assert_eq!(Owner::find(&Process::default()), Ok(None));
    }

    #[test]
    fn who_is_not_there_is_named() {
        let why = Owner::find(&process("nobody-like-this", None)).unwrap_err();
        assert!(why.contains("no user nobody-like-this"), "{why}");
        let why = Owner::find(&process("root", Some("no-such-group"))).unwrap_err();
        assert!(why.contains("no group no-such-group"), "{why}");
        // A number alone says nothing of a group.
        let why = Owner::find(&process("987654", None)).unwrap_err();
        assert!(why.contains("[process] group"), "{why}");
    }

    #[test]
    fn a_relay_that_is_somebody_else_does_not_start() {
        let owner = Owner::find(&process("987654", Some("12")));
        let why = owner.unwrap().unwrap().compare().unwrap_err();
        assert!(why.contains("start as root"), "{why}");
    }
}
