//! Files that change in all the ways files change. The clock is paused: it moves when everybody waits.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tokio::time::Instant;
use towline_daemon::watched::{self, Ask, Files, INTERVAL, Looked, ReadError, Watch};

const BYTES_MAX: usize = 16;

/// Makes a file bad.
type Spoil = fn(&Path);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("a", "one");
        folder.write("b", "other");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn watch(&self) -> (Watch, Ask) {
        let (files, first) = Files::read(vec![self.path("a"), self.path("b")], BYTES_MAX);
        assert_eq!(files.paths().len(), first.len());
        files.watch()
    }
}

/// The first two looks after a change, of which only the second may say anything.
async fn settled(watch: &mut Watch) -> Option<Vec<Looked>> {
    assert!(watch.look().await.is_none(), "one reading is not enough");
    watch.look().await
}

fn text(looked: &Looked) -> String {
    looked.reading.as_ref().map_or_else(ToString::to_string, |bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn texts(looked: Option<Vec<Looked>>) -> Vec<String> {
    looked.unwrap().iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_once_with_the_file_that_changed() {
    let folder = Folder::new();
    let (mut watch, _ask) = folder.watch();
    assert!(watch.look().await.is_none() && watch.look().await.is_none());
    folder.write("b", "new");
    let looked = settled(&mut watch).await.unwrap();
    assert_eq!(looked.iter().map(|file| file.changed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(texts(Some(looked)), ["one", "new"]);
    assert!(watch.look().await.is_none() && watch.look().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_not_taken_half_way() {
    let folder = Folder::new();
    let (mut watch, _ask) = folder.watch();
    for part in ["n", "ne", "new"] {
        folder.write("a", part);
        assert!(watch.look().await.is_none());
    }
    assert_eq!(texts(watch.look().await), ["new", "other"]);
    // There and back again is no change.
    folder.write("a", "x");
    assert!(watch.look().await.is_none());
    folder.write("a", "new");
    assert!(settled(&mut watch).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_link_to_a_folder_that_is_swapped_is_followed() {
    let folder = Folder::new();
    for (version, content) in [("..1", "first"), ("..2", "second")] {
        fs::create_dir(folder.path(version)).unwrap();
        folder.write(&format!("{version}/key"), content);
    }
    symlink("..1", folder.path("..data")).unwrap();
    symlink("..data/key", folder.path("key")).unwrap();
    let (files, first) = Files::read(vec![folder.path("key")], BYTES_MAX);
    assert_eq!(first[0].as_ref().unwrap().as_slice(), b"first");
    let (mut watch, _ask) = files.watch();
    // As a kubelet does it: a new link beside the old one, then a rename over it.
    symlink("..2", folder.path("..data_tmp")).unwrap();
    fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    assert_eq!(texts(settled(&mut watch).await), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_once_and_so_is_its_return() {
    let folder = Folder::new();
    let (mut watch, _ask) = folder.watch();
    let spoil: [(&str, Spoil); 4] = [
        ("No such file", |path| fs::remove_file(path).unwrap()),
        ("it is not a file", |path| fs::create_dir(path).unwrap()),
        ("it has more than 16 bytes", |path| {
            fs::remove_dir(path).unwrap();
            fs::write(path, "12345678901234567").unwrap();
        }),
        ("", |path| fs::write(path, "").unwrap()),
    ];
    for (expected, spoil) in spoil {
        spoil(&folder.path("a"));
        let told = texts(settled(&mut watch).await);
        assert!(told[0].starts_with(expected), "{told:?}");
        assert!(watch.look().await.is_none());
    }
    folder.write("a", "1234567890123456");
    assert_eq!(texts(settled(&mut watch).await), ["1234567890123456", "other"]);
    assert!(matches!(watched::read(folder.0.path(), 1), Err(ReadError::NotAFile)));
}

#[tokio::test(start_paused = true)]
async fn who_asks_waits_until_the_change_is_in_force_and_no_longer() {
    let folder = Folder::new();
    let (mut watch, ask) = folder.watch();
    let started = Instant::now();
    folder.write("a", "new");
    let asking = async {
        ask.look().await;
        started.elapsed()
    };
    let looking = async {
        let told = texts(watch.look().await);
        assert!(watch.look().await.is_none());
        told
    };
    let (waited, told) = tokio::join!(asking, looking);
    assert_eq!(told, ["new", "other"]);
    assert!(waited < INTERVAL / 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_in_vain_is_not_kept() {
    let folder = Folder::new();
    let (mut watch, ask) = folder.watch();
    let started = Instant::now();
    let asking = async {
        for _ in 0..10 {
            ask.look().await;
        }
        started.elapsed()
    };
    let looking = async { while watch.look().await.is_none() {} };
    tokio::select! {
        waited = asking => assert!(waited < INTERVAL / 2, "{waited:?}"),
        () = looking => panic!("nothing changed"),
    }
    // Nobody watches any more: nobody waits.
    drop(watch);
    let started = Instant::now();
    ask.look().await;
    assert_eq!(started.elapsed(), std::time::Duration::ZERO);
}
