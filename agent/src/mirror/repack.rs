//! One pack instead of many: each fetch that changes something leaves one behind.
//!
//! Knows which objects have to survive: what our refs reach. Must not need the network, so that it cannot lose what a server no
//! longer has. The new pack is complete, indexed and checked before the first old one goes; a failure leaves everything as it was.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::objs::Kind;
use gix::odb::pack::{Bundle, bundle, data};
use gix::zlib::{Compression, stream::deflate};

use super::reach::reach;
use super::{Mirror, store};

/// A look-up asks every pack's index in turn, and gix has room for these; at 50 commits a day this runs once a day.
pub(super) const PACKS_MAX: usize = 50;

impl Mirror {
    /// Only under the lock. It costs what reading and compressing the tips costs, once in [`PACKS_MAX`] changes. That it failed is
    /// no reason to withhold the tip that was fetched: the next fetch tries again.
    pub(super) fn repack_if_needed(&self, stop: &AtomicBool) {
        let packs = packs(&self.directory);
        if packs.len() <= PACKS_MAX {
            return;
        }
        if let Err(cause) = self.repack(&packs, stop) {
            tracing::warn!(mirror = %self.directory.display(), packs = packs.len(), cause, "failed to repack the mirror");
        }
    }

    fn repack(&self, old: &[PathBuf], stop: &AtomicBool) -> Result<(), String> {
        let repository = self.repository_now().map_err(|error| store::explain(&error))?;
        let mut kept = HashSet::new();
        for id in store::references(&repository).map_err(|error| store::explain(&error))? {
            // What is missing stays missing, and would stand in the way of every later repack.
            reach(&repository, id, &mut kept).inspect_err(|cause| self.mark_damaged(cause))?;
        }
        let written = self.write_pack(&repository, &kept, stop)?;
        check(&written, &kept).inspect_err(|cause| self.mark_damaged(cause))?;
        let index = written.index_path.clone().unwrap_or_default();
        remove_packs(old.iter().filter(|path| **path != index)).map_err(|error| error.to_string())?;
        if let Some(keep) = &written.keep_path {
            fs::remove_file(keep).map_err(|error| error.to_string())?;
        }
        forget_shallow(&self.directory, &kept).map_err(|error| error.to_string())
    }

    /// From one thread into an index, through a pipe: no second copy on the disk, nothing large in memory.
    fn write_pack(
        &self,
        repository: &gix::Repository,
        kept: &HashSet<ObjectId>,
        stop: &AtomicBool,
    ) -> Result<bundle::write::Outcome, String> {
        let (reader, writer) = io::pipe().map_err(|error| error.to_string())?;
        let objects = repository.clone().into_sync();
        std::thread::scope(|scope| {
            // Ends when all is written or the reading end is gone.
            let writing = scope.spawn(move || stream(&objects.to_thread_local(), kept, BufWriter::new(writer)));
            let written = Bundle::write_to_directory(
                &mut BufReader::new(reader),
                Some(&self.directory.join("objects/pack")),
                &mut gix::progress::Discard,
                stop,
                None::<gix::OdbHandle>,
                gix::hash::Kind::Sha1,
                bundle::write::Options::default(),
            );
            match writing.join() {
                Ok(Ok(())) => written.map_err(|error| store::explain(&error)),
                Ok(Err(cause)) => Err(cause),
                Err(_) => Err("writing the pack panicked".to_owned()),
            }
        })
    }
}

/// The pack format: a header, each object whole (no deltas: the next fetch's thin packs bring theirs), a checksum.
fn stream(repository: &gix::Repository, kept: &HashSet<ObjectId>, out: impl Write) -> Result<(), String> {
    let io = |error: io::Error| error.to_string();
    let count = u32::try_from(kept.len()).map_err(|error| error.to_string())?;
    let mut out = gix::hash::io::Write::new(out, gix::hash::Kind::Sha1);
    out.write_all(&data::header::encode(data::Version::V2, count)).map_err(io)?;
    for id in kept {
        let object = repository.find_object(*id).map_err(|error| store::explain(&error))?;
        let header = match object.kind {
            Kind::Commit => data::entry::Header::Commit,
            Kind::Tree => data::entry::Header::Tree,
            Kind::Blob => data::entry::Header::Blob,
            Kind::Tag => data::entry::Header::Tag,
        };
        header.write_to(object.data.len() as u64, &mut out).map_err(io)?;
        let mut deflated = deflate::Write::new(&mut out, Compression::BEST_SPEED);
        deflated.write_all(&object.data).and_then(|()| deflated.flush()).map_err(io)?;
    }
    let digest = out.hash.try_finalize().map_err(|error| store::explain(&error))?;
    out.inner.write_all(digest.as_slice()).and_then(|()| out.inner.flush()).map_err(io)
}

/// An index is made from the contents, so an object that was damaged is in it under another id.
fn check(written: &bundle::write::Outcome, kept: &HashSet<ObjectId>) -> Result<(), String> {
    let bundle = written.to_bundle().ok_or("the new pack has no index")?.map_err(|error| store::explain(&error))?;
    match kept.iter().find(|id| bundle.index.lookup(id).is_none()) {
        Some(id) => Err(format!("object {id} is damaged")),
        None => Ok(()),
    }
}

/// The indices of all packs.
pub(super) fn packs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("objects/pack")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "idx")).collect()
}

/// The index goes first: a pack without one is invisible, an index without its pack is a fault.
fn remove_packs<'a>(indices: impl Iterator<Item = &'a PathBuf>) -> io::Result<()> {
    for index in indices {
        for end in ["idx", "pack", "keep", "rev"] {
            match fs::remove_file(index.with_extension(end)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Git sends every line of this file to the server with each fetch.
fn forget_shallow(directory: &Path, kept: &HashSet<ObjectId>) -> io::Result<()> {
    let (file, next) = (directory.join("shallow"), directory.join("shallow.lock"));
    let is_kept = |line: &&str| ObjectId::from_hex(line.as_bytes()).is_ok_and(|id| kept.contains(&id));
    let lines: String = fs::read_to_string(&file)?.lines().filter(is_kept).map(|line| format!("{line}\n")).collect();
    fs::write(&next, lines)?;
    fs::rename(&next, &file)
}
