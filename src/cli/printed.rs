//! What shells and `man` read, made of the same description as the help: `ringpost completions`,
//! `ringpost man`.

mod reference;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::client::{Answer, Complaint, EX_CANTCREAT, EX_SOFTWARE, print};

/// Print what a shell needs to complete commands and options
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringpost completions bash > /usr/share/bash-completion/completions/ringpost
  ringpost completions zsh > /usr/share/zsh/vendor-completions/_ringpost
  ringpost completions fish > /usr/share/fish/vendor_completions.d/ringpost.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Write the manual pages, one for each command, and ringpost.toml(5) for the configuration
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringpost man pages && man -l pages/ringpost-latency.1
  man -l pages/ringpost.toml.5")]
pub struct Man {
    /// Where to; it is made where it is missing
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Prints the completions of `command`.
#[must_use]
pub fn complete(arguments: &Completions, mut command: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "ringpost", &mut script);
    let result =
        String::from_utf8(script).map_err(|error| Complaint::new(EX_SOFTWARE, error.to_string()));
    print(result.map(|result| Answer {
        result,
        remark: None,
    }))
}

/// Writes the pages of `command` and of those in it.
#[must_use]
pub fn write_pages(arguments: &Man, command: clap::Command) -> ExitCode {
    print(pages(&arguments.directory, command))
}

fn pages(directory: &Path, command: clap::Command) -> Result<Answer, Complaint> {
    // `help` is a command of clap's own, with a copy of each of the others.
    let command = command.disable_help_subcommand(true);
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .and_then(|()| std::fs::write(directory.join("ringpost.toml.5"), reference::page()))
        .map_err(|error| {
            let words = format!("cannot write to {}: {error}", directory.display());
            Complaint::new(EX_CANTCREAT, words)
        })?;
    Ok(Answer {
        result: String::new(),
        remark: Some(format!(
            "Read with: man -l {}/ringpost.1",
            directory.display()
        )),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn every_command_gets_a_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("man1");
        pages(&place, Arguments::command()).expect("pages");
        let page = |name: &str| std::fs::read_to_string(place.join(name)).expect(name);
        assert!(page("ringpost.1").contains(".TH ringpost 1"));
        assert!(page("ringpost-latency.1").contains("HdrHistogram"));
        assert!(page("ringpost-queue-hold.1").contains("ringpost queue hold"));
        assert!(page("ringpost.toml.5").contains(".TH ringpost.toml 5"));
        assert!(!place.join("ringpost-help.1").exists());

        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        let refused = pages(&file, Arguments::command()).expect_err("a file is no directory");
        assert_eq!(refused.code, EX_CANTCREAT);
    }

    #[test]
    fn shells_complete() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "ringpost", &mut script);
            let script = String::from_utf8(script).expect("text");
            assert!(
                script.contains("latency") && script.contains("older-than"),
                "{shell}"
            );
        }
    }
}
