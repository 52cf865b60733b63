//! Small files that are read: users and aliases, credentials, mail left while no relay ran, names
//! of messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::mail::envelope::QueueId;
use ringpost::maildrop::Submission;
use ringpost::users::Users;
use ringpost::users::client::Credentials;
use ringpost_fuzz::file;

fn users(octets: &[u8]) {
    let Ok(mut users) = Users::read(&file("users.toml", octets)) else {
        return;
    };
    let path = file("again.toml", b"");
    users.write(&path).expect("a file");
    assert_eq!(Users::read(&path).as_ref(), Ok(&users));
    let names: Vec<String> = users.aliases().map(|(name, _)| name.to_owned()).collect();
    let is_ours = |address: &str| address.ends_with("@d.test");
    let bad = users.bad_aliases(is_ours);
    assert!(bad.iter().all(|(name, _)| names.contains(name)));
    for name in names.iter().take(20) {
        let leads = users.leads(name, is_ours);
        for place in &leads.here {
            assert!(users.find(&place.user).is_some(), "{place:?}");
        }
        for address in &leads.elsewhere {
            assert!(
                !is_ours(&address.to_lowercase()) && address.contains('@'),
                "{address}"
            );
        }
    }
    for name in &names {
        users.remove_alias(name, &[]);
    }
}

fuzz_target!(|octets: &[u8]| {
    users(octets);
    if let Err(why) = Credentials::read(&file("credentials.toml", octets)) {
        assert!(why.len() < 1000);
    }
    let path = file("left.mail", octets);
    if let Ok(left) = Submission::read(&path) {
        let directory = path.parent().expect("a directory").join("maildrop");
        let again = left.leave(&directory, "1").expect("a file");
        assert_eq!(Submission::read(&again).expect("our own form"), left);
    }
    if let Ok(text) = str::from_utf8(octets)
        && let Ok(id) = text.parse::<QueueId>()
    {
        assert_eq!(id.to_string(), text.to_ascii_uppercase());
    }
    if let Some(number) = octets.first_chunk::<8>() {
        let id = QueueId(u64::from_le_bytes(*number));
        assert_eq!(id.to_string().parse(), Ok(id));
    }
});
