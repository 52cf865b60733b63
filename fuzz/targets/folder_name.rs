//! Names of folders: modified UTF-7 there and back, and never out of the mailbox.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::mailbox::FolderName;
use ringpost::mailbox::name::{from_utf7, to_utf7};

fuzz_target!(|text: &str| {
    assert_eq!(from_utf7(&to_utf7(text)).as_deref(), Some(text));
    if let Some(decoded) = from_utf7(text) {
        assert_eq!(to_utf7(&decoded), text, "two spellings of one name");
    }
    let Ok(name) = FolderName::new(text) else {
        return;
    };
    if let Some(directory) = name.directory() {
        assert!(
            !directory.contains(['/', '\0', '\r', '\n']),
            "{directory:?}"
        );
        assert!(directory != "." && directory != "..", "{directory:?}");
        assert_eq!(FolderName::from_directory(&directory).as_ref(), Some(&name));
    }
});
