//! The properties that `receiver/fuzz` looks for exceptions from, for all its seeds and for a bounded number of variations.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "the properties are a library to the fuzz targets")]

#[path = "../fuzz/properties/mod.rs"]
mod properties;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use towline_receiver::{Provider, sign};

/// For each target; `cargo fuzz` does more.
const CASES: u32 = 128;

/// What `cargo xtask fuzz` begins with, too: a target's own seeds, and for readers all recorded payloads.
fn folders(target: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recorded = target.starts_with("payload_").then(|| root.join("tests/payloads"));
    let own = root.join("fuzz/seeds").join(target);
    recorded.into_iter().chain([own]).filter(|folder| folder.is_dir()).collect()
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = folders(target).into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_seed() {
    for (name, property) in properties::targets() {
        let seeds = seeds(&name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| property(seed));
        property(b"");
    }
}

/// Bytes of a seed replaced, a piece of it cut out or repeated; or no seed at all.
fn variation(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..6);
    let piece = (any::<Index>(), any::<Index>(), 0..3_usize);
    let of_seed = (prop::sample::select(seeds), changes, piece).prop_map(|(mut seed, changes, (from, to, times))| {
        if seed.is_empty() {
            return seed;
        }
        for (at, byte) in changes {
            let at = at.index(seed.len());
            seed[at] = byte;
        }
        let (from, to) = (from.index(seed.len()), to.index(seed.len()));
        let (from, to) = (from.min(to), from.max(to));
        [&seed[..from], &seed[from..to].repeat(times), &seed[to..]].concat()
    });
    prop_oneof![4 => of_seed, 1 => prop::collection::vec(any::<u8>(), 0..256)]
}

#[test]
fn variations_of_seeds() {
    for (name, property) in properties::targets() {
        let mut runner = TestRunner::new(ProptestConfig { cases: CASES, ..ProptestConfig::default() });
        let run = runner.run(&variation(seeds(&name)), |data| {
            property(&data);
            Ok(())
        });
        run.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Seeds that begin behind the gate: without them a fuzzer would have to guess an HMAC.
fn signed(provider: Provider) -> Vec<Vec<u8>> {
    let write = |secret| {
        let signed = sign::sign(provider, secret, "push", Bytes::from_static(b"{}"), "id", properties::NOW);
        let lines: String = signed.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        [lines.as_bytes(), b"\n", &signed.body].concat()
    };
    properties::secrets(provider).iter().map(write).collect()
}

#[test]
fn a_seed_of_each_scheme_is_believed() {
    for provider in Provider::ALL {
        let seeds = seeds(&format!("verify_{}", provider.name().replace('-', "_")));
        for signed in signed(provider) {
            assert!(properties::verify(provider, &signed));
            assert!(seeds.contains(&signed), "{provider}: run this test file with `-- --ignored` to write it");
        }
    }
}

#[test]
#[ignore = "writes into fuzz/seeds: for when a scheme is new"]
fn write_signed_seeds() {
    for provider in Provider::ALL {
        let target = format!("verify_{}", provider.name().replace('-', "_"));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        fs::create_dir_all(&folder).unwrap();
        for (number, signed) in signed(provider).iter().enumerate() {
            fs::write(folder.join(format!("signed-{number}")), signed).unwrap();
        }
    }
}
