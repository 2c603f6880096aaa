//! Files whose content may change while the process runs: secrets, certificates. Reads them again and again, and says
//! when they hold something else. Knows paths, bytes and times; what a file means, and what to do about a bad one, is
//! its owner's business. Logs nothing and keeps no content: only a keyed fingerprint to compare with.
//!
//! Reading is the one way that works everywhere: Kubernetes replaces a link to a folder (`..data`), which inotify does
//! not see on the file itself, and not at all on some network file systems. The files are a few and small.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::zeroize::Zeroizing;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

/// Between two looks. Kubernetes takes up to a minute to bring a change into a pod: two seconds more are not felt, and
/// a dozen small reads a second are nothing.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// A content counts when it was read twice, this far apart at least: a file that is being written in place is not taken
/// half-way. Writers of a few hundred bytes do not pause for longer.
const SETTLE: Duration = Duration::from_millis(250);

/// Between two looks that were asked for. Strangers can ask for them, by a wrong signature: fifty small reads a second
/// are what they can cost.
const ASKED_PAUSE: Duration = Duration::from_millis(20);

/// How long one who asked waits at most: two readings, with room for a slow disk.
const ASKED_MAX: Duration = Duration::from_secs(1);

/// Those who may wait for the same look; further ones get none. Each has a connection of its own, and there are not
/// more of those by default.
const ASKING_MAX: usize = 1024;

/// What a file held, or why that is not known.
pub type Reading = Result<Zeroizing<Vec<u8>>, ReadError>;

/// Why a file has no content. Names neither the file, which its owner does, nor anything in it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a file")]
    NotAFile,
    #[error("it has more than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
}

/// One file of a set that was looked at.
#[derive(Debug)]
pub struct Looked {
    pub reading: Reading,
    /// Whether it is another than the one handed over before.
    pub changed: bool,
}

/// Reads a file that must not be larger than this.
pub fn read(path: &Path, bytes_max: usize) -> Reading {
    // Asked first, because opening a pipe waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    // Room for one byte too many: the buffer never grows, which would leave a copy behind that nobody zeroes.
    let mut content = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    let mut chunk = Zeroizing::new([0; 4096]);
    let mut file = std::fs::File::open(path)?;
    loop {
        let room = (bytes_max + 1 - content.len()).min(chunk.len());
        let read = match file.read(&mut chunk[..room]) {
            Ok(0) => return Ok(content),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        content.extend_from_slice(&chunk[..read]);
        if content.len() > bytes_max {
            return Err(ReadError::TooLong { bytes_max });
        }
    }
}

/// What is remembered of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Print {
    /// Keyed by a random number of this process.
    Content(u64),
    Unreadable(io::ErrorKind),
    NotAFile,
    TooLong,
}

/// A set of files that belong together, as they were when they were first read.
#[derive(Clone, Debug)]
pub struct Files {
    paths: Arc<[PathBuf]>,
    bytes_max: usize,
    key: RandomState,
    first: Vec<Print>,
}

impl Files {
    /// Reads all of them for the first time. What [`Files::watch`] reports later is a change of this.
    pub fn read(paths: Vec<PathBuf>, bytes_max: usize) -> (Self, Vec<Reading>) {
        let mut files = Self { paths: paths.into(), bytes_max, key: RandomState::new(), first: Vec::new() };
        let readings = files.read_again();
        files.first = files.prints(&readings);
        (files, readings)
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Begins to watch. Dropping the [`Watch`] ends it, and whoever asks then gets no look.
    pub fn watch(&self) -> (Watch, Ask) {
        let (sender, asked) = mpsc::channel(ASKING_MAX);
        let now = Instant::now();
        let watch = Watch {
            settled: self.first.clone(),
            seen: (self.first.clone(), now),
            files: self.clone(),
            asked,
            waiting: Vec::new(),
            last_look: now,
        };
        (watch, Ask { sender })
    }

    fn read_again(&self) -> Vec<Reading> {
        self.paths.iter().map(|path| read(path, self.bytes_max)).collect()
    }

    fn prints(&self, readings: &[Reading]) -> Vec<Print> {
        let print = |reading: &Reading| match reading {
            Ok(content) => Print::Content(self.key.hash_one(content.as_slice())),
            Err(ReadError::Io(error)) => Print::Unreadable(error.kind()),
            Err(ReadError::NotAFile) => Print::NotAFile,
            Err(ReadError::TooLong { .. }) => Print::TooLong,
        };
        readings.iter().map(print).collect()
    }
}

/// Looks at a set of files for as long as it is asked for the next look.
#[derive(Debug)]
pub struct Watch {
    files: Files,
    /// What was handed over last.
    settled: Vec<Print>,
    /// What the last look saw, and since when it has been so.
    seen: (Vec<Print>, Instant),
    asked: mpsc::Receiver<oneshot::Sender<()>>,
    /// Those who asked for the look that was made last, until its result is in force.
    waiting: Vec<oneshot::Sender<()>>,
    last_look: Instant,
}

impl Watch {
    /// Waits until it is time or somebody asks, and looks. Some: the files hold something else than was handed over
    /// last, and two readings agree on it; all of them are handed over.
    ///
    /// Calling it again says that the result of the call before is in force: those who asked go on.
    pub async fn look(&mut self) -> Option<Vec<Looked>> {
        self.waiting.clear();
        let is_asked = tokio::select! {
            () = sleep_until(self.last_look + INTERVAL) => false,
            Some(waiter) = self.asked.recv() => {
                self.waiting.push(waiter);
                true
            }
        };
        if is_asked {
            sleep_until(self.last_look + ASKED_PAUSE).await;
        }
        // Whoever asked up to now is served by a reading that begins now.
        while self.waiting.len() < ASKING_MAX {
            let Ok(waiter) = self.asked.try_recv() else { break };
            self.waiting.push(waiter);
        }
        let deadline = Instant::now() + ASKED_MAX;
        let found = loop {
            let (readings, agreed_at) = self.reading().await?;
            let now = Instant::now();
            if now >= agreed_at {
                break readings;
            }
            if !is_asked || agreed_at > deadline || self.seen.0 == self.settled {
                return None;
            }
            sleep_until(agreed_at).await;
        };
        let before = std::mem::replace(&mut self.settled, self.seen.0.clone());
        if before == self.settled {
            return None;
        }
        let changed = before.iter().zip(&self.settled).map(|(before, now)| before != now);
        Some(found.into_iter().zip(changed).map(|(reading, changed)| Looked { reading, changed }).collect())
    }

    /// Reads off the async threads; also says from when on this reading counts. None at the runtime's end.
    async fn reading(&mut self) -> Option<(Vec<Reading>, Instant)> {
        let files = self.files.clone();
        let readings = tokio::task::spawn_blocking(move || files.read_again()).await.ok();
        self.last_look = Instant::now();
        let readings = readings?;
        let prints = self.files.prints(&readings);
        if prints != self.seen.0 {
            self.seen = (prints, self.last_look);
        }
        Some((readings, self.seen.1 + SETTLE))
    }
}

/// Asks for a look before it is time.
#[derive(Clone, Debug)]
pub struct Ask {
    sender: mpsc::Sender<oneshot::Sender<()>>,
}

impl Ask {
    /// Returns when a look that began after this call is over and what it found is in force, or when that takes too
    /// long.
    pub async fn look(&self) {
        let (waiter, over) = oneshot::channel();
        if self.sender.try_send(waiter).is_ok() {
            // The sender is dropped, never used.
            let _over_or_too_late = timeout(ASKED_MAX + SETTLE, over).await;
        }
    }
}
