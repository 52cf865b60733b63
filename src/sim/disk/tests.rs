use super::*;

fn disk_with_file() -> (SimDisk, SimFile) {
    let disk = SimDisk::new();
    disk.make_directory(Path::new("d")).unwrap();
    let file = disk.open(Path::new("d/a"), true).unwrap();
    (disk, file)
}

#[test]
fn unsynced_sectors_are_kept_or_lost_whole() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..64 {
        let (disk, file) = disk_with_file();
        disk.sync_directory(Path::new("d")).unwrap();
        file.write_at(&[1; 4096], 0).unwrap();
        file.sync().unwrap();
        file.write_at(&[2; 4096], 0).unwrap();
        disk.power_cut(seed);
        assert!(file.read_at(0, 1).is_err(), "the handle outlived the power");
        let file = disk.open(Path::new("d/a"), false).unwrap();
        for sector in file.read_at(0, 4096).unwrap().chunks(512) {
            assert!(sector.iter().all(|octet| *octet == sector[0]));
            match sector[0] {
                1 => lost += 1,
                2 => kept += 1,
                other => panic!("octet {other} out of nowhere"),
            }
        }
    }
    assert!(lost > 50 && kept > 50);
}

#[test]
fn a_name_is_durable_only_after_its_directory_was_synced() {
    let mut survivors = 0;
    for seed in 0..32 {
        let (disk, file) = disk_with_file();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        disk.power_cut(seed);
        survivors += usize::from(disk.open(Path::new("d/a"), false).is_ok());
    }
    assert!(survivors > 0 && survivors < 32);
    let (disk, _file) = disk_with_file();
    disk.sync_directory(Path::new("d")).unwrap();
    disk.remove(Path::new("d/a")).unwrap();
    disk.sync_directory(Path::new("d")).unwrap();
    disk.power_cut(1);
    assert!(disk.open(Path::new("d/a"), false).is_err());
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let (disk, file) = disk_with_file();
    disk.set_faults(Faults {
        capacity_octets: Some(8192),
        ..Faults::default()
    });
    file.set_len(1 << 20).unwrap();
    let error = file.write_at(&[1; 10_000], 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.used_octets(), 8192);
    file.write_at(&[2; 8192], 0).unwrap();
}

#[test]
fn after_a_failed_sync_the_octets_are_never_durable() {
    let (disk, file) = disk_with_file();
    disk.sync_directory(Path::new("d")).unwrap();
    disk.set_faults(Faults {
        fail_sync_at: Some(1),
        ..Faults::default()
    });
    file.write_at(&[7; 512], 0).unwrap();
    assert!(file.sync().is_err());
    file.sync().unwrap();
    disk.power_cut(3);
    let file = disk.open(Path::new("d/a"), false).unwrap();
    assert!(
        file.read_at(0, 512)
            .unwrap()
            .iter()
            .all(|octet| *octet == 0)
    );
}

#[test]
fn the_power_fails_at_the_operation_asked_for() {
    let (disk, file) = disk_with_file();
    disk.set_faults(Faults {
        cut_at: Some(2),
        ..Faults::default()
    });
    file.write_at(b"a", 0).unwrap();
    assert!(file.write_at(b"b", 0).is_err() && disk.is_off());
    assert!(disk.list(Path::new("d")).is_err());
    disk.power_cut(0);
    assert!(!disk.is_off() && disk.list(Path::new("d")).is_ok());
}
