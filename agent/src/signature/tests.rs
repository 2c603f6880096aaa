//! Verdicts on what real git, gpg and ssh-keygen made (`tests/fixtures/make.sh`), and on what was done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use proptest::prelude::*;
use towline_proto::{CommitId, CommitInfo};

use super::*;

/// The day fixtures are looked at: all keys are valid, all was signed.
const NOW: &str = "2026-06-01T00:00:00Z";

pub(super) fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/signature/tests/fixtures");
    fs::read(folder.join(name)).unwrap()
}

pub(super) fn keys(names: &[&str]) -> Keys {
    let entries = names.iter().map(|name| ((*name).to_owned(), fixture(name))).collect();
    Keys::read(&entries).unwrap()
}

fn demand(mode: Mode, names: &[&str]) -> Demand {
    Demand { mode, keys: keys(names), rules: Vec::new() }
}

pub(super) fn candidate(object: Vec<u8>) -> Candidate {
    let commit = CommitId::parse("1111111111111111111111111111111111111111").unwrap();
    Candidate { about: CommitInfo::of(commit), object, tag: None, changed: BTreeSet::new() }
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn head(commit: &str, names: &[&str]) -> Result<Verified, Refusal> {
    head_at(commit, names, Sight::First, NOW)
}

fn head_at(commit: &str, names: &[&str], sight: Sight, at: &str) -> Result<Verified, Refusal> {
    verify(Some(&demand(Mode::Head, names)), &candidate(fixture(commit)), sight, at.parse().unwrap())
}

fn why(result: Result<Verified, Refusal>) -> String {
    result.unwrap_err().why.to_string()
}

fn refused(raw: Vec<u8>, names: &[&str]) -> String {
    why(verify(Some(&demand(Mode::Head, names)), &candidate(raw), Sight::First, now()))
}

fn edited(commit: &str, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(fixture(commit)).unwrap();
    assert!(text.contains(from), "{commit} has no {from:?}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn what_real_tools_signed_is_verified() {
    for (commit, key) in [
        ("alice.commit", "alice.asc"),
        ("bob.commit", "bob.asc"),
        ("carol.commit", "carol.asc"),
        ("ssh-ed25519.commit", "ed25519.sshpub"),
        ("ssh-ecdsa.commit", "ecdsa.sshpub"),
        ("ssh-rsa.commit", "rsa.sshpub"),
    ] {
        let verified = head(commit, &[key]).unwrap_or_else(|refusal| panic!("{commit}: {refusal}"));
        assert_eq!(verified.signers().len(), 1, "{commit}");
        assert!(
            head(commit, &["alice.asc", "bob.asc", "carol.asc", "ed25519.sshpub", "ecdsa.sshpub", "rsa.sshpub"])
                .is_ok()
        );
    }
}

#[test]
fn without_a_demand_everything_passes_and_nobody_signed() {
    let verified = verify(None, &candidate(fixture("unsigned.commit")), Sight::First, now()).unwrap();
    assert!(verified.signers().is_empty());
}

#[test]
fn the_refusal_names_the_missing_key() {
    assert_eq!(why(head("unsigned.commit", &["alice.asc"])), "it is not signed");
    let text = why(head("bob.commit", &["alice.asc", "ed25519.sshpub"]));
    assert_eq!(
        text,
        "it is signed with OpenPGP key C0BEE1FDA968DDEA8B1344356E62DD61C49E54C0, which is not among the keys of the Secret"
    );
    let text = why(head("ssh-ed25519.commit", &["alice.asc", "rsa.sshpub"]));
    assert!(text.contains("SSH key SHA256:s8Glb7WzJSZii/3mpbjb1cbTYavUQiqiSIVwJhPmjak, which is not among"), "{text}");
}

#[test]
fn a_weak_hash_and_a_revoked_key_are_refused() {
    assert!(why(head("sha1.commit", &["bob.asc"])).contains("uses the hash SHA1"));
    assert!(why(head("bob.commit", &["bob-revoked.asc"])).ends_with("is revoked"));
    let both = head("bob.commit", &["bob.asc", "bob-revoked.asc"]);
    assert!(why(both).ends_with("is revoked"), "a stale copy does not bring it back");
}

#[test]
fn expiry_is_judged_at_both_times() {
    assert!(why(head("carol-later.commit", &["carol-expiring.asc"])).contains("before this was signed"));
    assert!(why(head("carol.commit", &["carol-expiring.asc"])).contains("after this was signed"));
    assert!(head_at("carol.commit", &["carol-expiring.asc"], Sight::First, "2026-01-20T00:00:00Z").is_ok());
    assert!(head_at("carol.commit", &["carol-expiring.asc"], Sight::Again, NOW).is_ok(), "it was the revision already");
    let again = head_at("carol-later.commit", &["carol-expiring.asc"], Sight::Again, NOW);
    assert!(why(again).contains("before this was signed"));
    let early = head_at("alice.commit", &["alice.asc"], Sight::First, "2026-01-14T23:54:59Z");
    assert!(why(early).contains("still to come"));
    assert!(head_at("alice.commit", &["alice.asc"], Sight::First, "2026-01-14T23:56:00Z").is_ok());
}

fn ssh_line(line: &str) -> Keys {
    let key = String::from_utf8(fixture("ed25519.sshpub")).unwrap();
    let entries = BTreeMap::from([("signers.sshpub".to_owned(), line.replace("KEY", key.trim()).into_bytes())]);
    Keys::read(&entries).unwrap()
}

#[test]
fn allowed_signers_lines_say_for_what_and_when() {
    let judge = |line: &str, sight| {
        let demand = Demand { mode: Mode::Head, keys: ssh_line(line), rules: Vec::new() };
        verify(Some(&demand), &candidate(fixture("ssh-ed25519.commit")), sight, now())
    };
    for fine in [
        "# people\n\nada@example.org KEY",
        "\"Ada Lovelace\",ada@example.org namespaces=\"file,git\" KEY",
        "ada@example.org namespaces=\"git\",valid-after=\"20260101Z\",valid-before=\"20270101\" KEY",
        "* valid-before=\"202603010001Z\" KEY\nada valid-before=\"20270101\" KEY",
    ] {
        assert!(judge(fine, Sight::First).is_ok(), "{fine}");
    }
    assert!(why(judge("ada namespaces=\"file\" KEY", Sight::First)).contains("not one for signing"));
    assert!(why(judge("ada valid-after=\"20260302\" KEY", Sight::First)).contains("not valid before 2026-03-02"));
    assert!(why(judge("ada valid-before=\"20260301\" KEY", Sight::First)).contains("before this was signed"));
    assert!(why(judge("ada valid-before=\"20260401\" KEY", Sight::First)).contains("after this was signed"));
    assert!(judge("ada valid-before=\"20260401\" KEY", Sight::Again).is_ok());
}

#[test]
fn a_secret_that_cannot_be_read_says_where() {
    let read = |entry: &str, text: &str| {
        Keys::read(&BTreeMap::from([(entry.to_owned(), text.as_bytes().to_vec())])).unwrap_err().to_string()
    };
    assert_eq!(read("notes.txt", "x"), "it has no entry *.asc or *.sshpub with a public key");
    assert!(read("a.asc", "hello").contains("no PGP PUBLIC KEY BLOCK"));
    assert!(read("a.asc", "-----BEGIN PGP PRIVATE KEY BLOCK-----").contains("a private key"));
    assert!(
        read("a.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----")
            .contains("cannot be read")
    );
    assert!(
        read("a.sshpub", "ok-ssh-nonsense AAAA secret-comment")
            .starts_with("its entry \"a.sshpub\" cannot be read: line 1: not")
    );
    assert!(!read("a.sshpub", "ok-ssh-nonsense AAAA secret-comment").contains("secret"));
    let key = String::from_utf8(fixture("ed25519.sshpub")).unwrap();
    assert!(read("a.sshpub", &format!("* cert-authority {key}")).contains("certificates are not supported"));
    assert!(read("a.sshpub", &format!("* whatever=1 {key}")).contains("not known"));
}

#[test]
fn several_and_foreign_signatures_are_refused() {
    let again = String::from_utf8(fixture("alice.commit")).unwrap();
    let header: String = again
        .split_inclusive('\n')
        .skip_while(|line| !line.starts_with("gpgsig"))
        .take_while(|line| line.starts_with("gpgsig") || line.starts_with(' '))
        .collect();
    let twice = edited("alice.commit", &header, &header.repeat(2));
    assert!(refused(twice, &["alice.asc"]).contains("several signatures"));
    let sha256 = edited("alice.commit", "gpgsig ", "gpgsig-sha256 ");
    assert!(refused(sha256, &["alice.asc"]).contains("gpgsig-sha256"));
    let both = edited("alice.commit", &header, &format!("{header}{}", header.replacen("gpgsig", "gpgsig-sha256", 1)));
    assert!(refused(both, &["alice.asc"]).contains("gpgsig-sha256"));
    let mut in_one = header.clone();
    in_one.push_str(&header.replacen("gpgsig", "", 1));
    assert!(refused(edited("alice.commit", &header, &in_one), &["alice.asc"]).contains("several signatures"));
    let x509 = "gpgsig -----BEGIN SIGNED MESSAGE-----\n MIAG\n -----END SIGNED MESSAGE-----\n";
    assert!(refused(edited("alice.commit", &header, x509), &["alice.asc"]).contains("X.509"));
    assert!(refused(edited("alice.commit", &header, "gpgsig hello\n"), &["alice.asc"]).contains("not known"));
    let trailing = edited("alice.commit", &header, &format!("{header} and more\n"));
    assert!(refused(trailing, &["alice.asc"]).contains("something follows"));
    let tree = edited("alice.commit", "author ", "tree 1111111111111111111111111111111111111111\nauthor ");
    assert!(refused(tree, &["alice.asc"]).contains("not formed as Git forms it"));
}

#[test]
fn a_signature_over_another_object_does_not_fit() {
    let of = |name: &str| String::from_utf8(fixture(name)).unwrap();
    let header = |text: &str| {
        text.split_inclusive('\n')
            .skip_while(|line| !line.starts_with("gpgsig"))
            .take_while(|line| line.starts_with("gpgsig") || line.starts_with(' '))
            .collect::<String>()
    };
    let moved = of("ssh-rsa.commit").replace(&header(&of("ssh-rsa.commit")), &header(&of("ssh-ed25519.commit")));
    assert!(refused(moved.into_bytes(), &["ed25519.sshpub", "rsa.sshpub"]).contains("either was changed"));
    let moved = of("bob.commit").replace(&header(&of("bob.commit")), &header(&of("alice.commit")));
    assert!(refused(moved.into_bytes(), &["alice.asc", "bob.asc"]).contains("either was changed"));
}

fn tagged(name: &str, tag: Option<&str>, commit: &str) -> Candidate {
    let object = tag.map(fixture);
    let text = object.as_ref().map(|raw| String::from_utf8(raw.clone()).unwrap());
    let id = text.map_or("1111111111111111111111111111111111111111".to_owned(), |text| text[7..47].to_owned());
    let tag = Some(Tag { name: name.to_owned(), object });
    Candidate { about: CommitInfo::of(CommitId::parse(&id).unwrap()), tag, ..candidate(fixture(commit)) }
}

#[test]
fn tags_are_verified_and_bound_to_their_name_and_commit() {
    let judge = |mode, candidate: &Candidate| {
        verify(Some(&demand(mode, &["alice.asc", "ed25519.sshpub"])), candidate, Sight::First, now())
    };
    assert!(judge(Mode::Tag, &tagged("v1", Some("v1.tag"), "unsigned.commit")).is_ok());
    assert!(judge(Mode::Tag, &tagged("v2", Some("v2.tag"), "unsigned.commit")).is_ok());
    let both = judge(Mode::TagAndHead, &tagged("v1", Some("v1.tag"), "alice.commit")).unwrap();
    assert_eq!(both.signers().len(), 2);
    let unsigned = judge(Mode::TagAndHead, &tagged("v1", Some("v1.tag"), "unsigned.commit")).unwrap_err();
    assert!(unsigned.to_string().starts_with("commit ") && unsigned.to_string().ends_with("it is not signed"));
    let plain = judge(Mode::Tag, &tagged("v0", Some("v0.tag"), "alice.commit")).unwrap_err();
    assert_eq!(plain.to_string(), "tag v0: it is not signed");
    assert!(why(judge(Mode::Tag, &tagged("v0", None, "alice.commit"))).contains("not an annotated tag"));
    assert!(why(judge(Mode::Tag, &tagged("v9", Some("v1.tag"), "alice.commit"))).contains("calls itself \"v1\""));
    assert!(why(judge(Mode::Tag, &candidate(fixture("alice.commit")))).contains("not a tag"));
    let mut other = tagged("v1", Some("v1.tag"), "alice.commit");
    other.about.id = CommitId::parse("2222222222222222222222222222222222222222").unwrap();
    assert!(why(judge(Mode::Tag, &other)).contains("not this commit"));
}

#[test]
fn a_tag_with_two_signatures_is_refused() {
    let mut twice = fixture("v1.tag");
    twice.extend(fixture("v1.tag").split(|byte| *byte == b'\n').skip(6).flat_map(|line| [line, b"\n"].concat()));
    let mut candidate = tagged("v1", Some("v1.tag"), "alice.commit");
    candidate.tag = Some(Tag { name: "v1".to_owned(), object: Some(twice) });
    let result = verify(Some(&demand(Mode::Tag, &["alice.asc"])), &candidate, Sight::First, now());
    assert!(why(result).contains("several signatures"));
}

#[test]
fn paths_belong_to_those_who_may_change_them() {
    let rule = |paths: &[&str], keys: &[&str]| Rule {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    };
    let judge = |rules: Vec<Rule>, changed: &[&str]| {
        let demand = Demand { rules, ..demand(Mode::Head, &["alice.asc", "bob.asc"]) };
        let changed = changed.iter().map(|path| (*path).to_owned()).collect();
        verify(Some(&demand), &Candidate { changed, ..candidate(fixture("bob.commit")) }, Sight::First, now())
    };
    assert!(judge(vec![rule(&["prod"], &["alice.asc"])], &[]).is_ok(), "not touched");
    assert!(judge(vec![rule(&["prod"], &["alice.asc", "bob.asc"])], &["prod"]).is_ok());
    let text = why(judge(vec![rule(&["test", "prod"], &["alice.asc"])], &["prod"]));
    assert_eq!(
        text,
        "prod was changed, which OpenPGP key C0BEE1FDA968DDEA8B1344356E62DD61C49E54C0 may not; keys in alice.asc may"
    );
    let each = vec![rule(&["prod"], &["bob.asc"]), rule(&[""], &["alice.asc"])];
    assert!(why(judge(each, &["prod", ""])).starts_with("the repository was changed"), "every rule holds");
}

/// All over it, because lengths are read leniently and there are few of them.
#[test]
fn no_bit_of_an_ssh_signature_can_be_flipped() {
    for (commit, key) in [("ssh-ed25519.commit", "ed25519.sshpub"), ("ssh-ecdsa.commit", "ecdsa.sshpub")] {
        let (mut signed, keys) = (signed::commit(&fixture(commit)).unwrap(), keys(&[key]));
        let bytes = signed.bare();
        assert!(ssh::verify(&signed, &keys, Sight::First, now()).is_ok(), "{commit}");
        // A bit of each byte where verifying is slow.
        let bits = |at: usize| if key == "ecdsa.sshpub" { at % 8..at % 8 + 1 } else { 0..8 };
        for (at, bit) in (0..bytes.len()).flat_map(|at| bits(at).map(move |bit| (at, bit))) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            signed.signature = armored("SSH SIGNATURE", "", 70, &flipped);
            assert!(ssh::verify(&signed, &keys, Sight::First, now()).is_err(), "{commit}: bit {bit} of byte {at}");
        }
    }
}

fn armored(label: &str, gap: &str, width: usize, bytes: &[u8]) -> String {
    let base64 = data_encoding::BASE64.encode(bytes);
    let lines = base64.as_bytes().chunks(width).map(|line| format!("{}\n", std::str::from_utf8(line).unwrap()));
    format!("-----BEGIN {label}-----\n{gap}{}-----END {label}-----\n", lines.collect::<String>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// One bit of what was signed, or of the object around it.
    #[test]
    fn a_flipped_bit_is_never_verified_as_something_else(
        which in prop::sample::select(vec![("alice.commit", "alice.asc"), ("bob.commit", "bob.asc"),
            ("carol.commit", "carol.asc"), ("ssh-ed25519.commit", "ed25519.sshpub"), ("ssh-rsa.commit", "rsa.sshpub")]),
        at in any::<prop::sample::Index>(), bit in 0..8_u32,
    ) {
        let raw = fixture(which.0);
        let mut flipped = raw.clone();
        flipped[at.index(raw.len())] ^= 1 << bit;
        let result = verify(Some(&demand(Mode::Head, &[which.1])), &candidate(flipped.clone()), Sight::First, now());
        if result.is_ok() {
            // Armor has room around what it carries: the same payload, and the same signature once it is taken off.
            let (before, after) = (signed::commit(&raw).unwrap(), signed::commit(&flipped).unwrap());
            prop_assert_eq!(&before.payload, &after.payload);
            prop_assert_eq!(before.bare(), after.bare());
        }
    }

    /// One bit of the signature itself.
    #[test]
    fn a_flipped_bit_of_a_signature_is_refused(
        which in prop::sample::select(vec![("alice.commit", "alice.asc"), ("bob.commit", "bob.asc"), ("carol.commit", "carol.asc")]),
        at in any::<prop::sample::Index>(), bit in 0..8_u32,
    ) {
        let mut signed = signed::commit(&fixture(which.0)).unwrap();
        let mut bytes = signed.bare();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        signed.signature = armored("PGP SIGNATURE", "\n", 64, &bytes);
        prop_assert!(openpgp::verify(&signed, &keys(&[which.1]), Sight::First, now()).is_err(), "byte {}", at);
    }
}

impl signed::Signed {
    /// The signature without its armor.
    fn bare(&self) -> Vec<u8> {
        let lines =
            self.signature.lines().skip(1).skip_while(|line| line.contains(": ")).filter(|line| !line.starts_with('-'));
        let base64: String = lines.filter(|line| !line.starts_with('=')).map(str::trim).collect();
        data_encoding::BASE64.decode(base64.as_bytes()).unwrap_or_default()
    }
}
