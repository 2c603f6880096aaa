//! Which repositories a hook speaks for: globs on what follows host and prefix in a repository's identity. Knows names and
//! patterns, no host.
//!
//! `*` is anything within one part of the name, `**` anything at all, `?` one character other than `/`. Case makes no
//! difference, as it makes none to the Git hosts.

/// More wildcards than this are no pattern a person wrote; each may cost a pass over the name.
const WILDCARDS_MAX: usize = 16;

/// A list of globs; the empty list allows everything.
#[derive(Clone, Debug, Default)]
pub struct AllowList {
    globs: Vec<Glob>,
    /// As they were written.
    texts: Vec<String>,
}

#[derive(Clone, Debug)]
struct Glob {
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(char),
    OneInPart,
    ManyInPart,
    Anything,
}

/// Why a text is no glob for repositories.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GlobError {
    #[error("the glob is empty")]
    Empty,
    #[error("the glob has more than {WILDCARDS_MAX} wildcards")]
    TooManyWildcards,
    #[error("a glob matches a full name such as org/app: write it without scheme, host or leading slash")]
    NotAName,
}

impl AllowList {
    /// Adds one glob.
    pub fn add(&mut self, glob: &str) -> Result<(), GlobError> {
        self.globs.push(Glob::parse(glob)?);
        self.texts.push(glob.to_owned());
        Ok(())
    }

    /// The globs as they were added.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    pub fn allows(&self, full_name: &str) -> bool {
        if self.globs.is_empty() {
            return true;
        }
        let name: Vec<char> = full_name.to_lowercase().chars().collect();
        self.globs.iter().any(|glob| matches(&glob.pieces, &name))
    }
}

impl Glob {
    fn parse(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.starts_with('/') || text.contains("://") {
            return Err(GlobError::NotAName);
        }
        let mut pieces = Vec::new();
        for character in text.to_lowercase().chars() {
            match (character, pieces.last()) {
                ('*', Some(Piece::Anything)) => {}
                ('*', Some(Piece::ManyInPart)) => {
                    pieces.pop();
                    pieces.push(Piece::Anything);
                }
                ('*', _) => pieces.push(Piece::ManyInPart),
                ('?', _) => pieces.push(Piece::OneInPart),
                (literal, _) => pieces.push(Piece::Literal(literal)),
            }
        }
        if pieces.iter().filter(|piece| !matches!(piece, Piece::Literal(_))).count() > WILDCARDS_MAX {
            return Err(GlobError::TooManyWildcards);
        }
        Ok(Self { pieces })
    }
}

/// The set of positions in the pattern that the name read so far can be at: linear in pattern times name, whatever
/// the pattern.
fn matches(pieces: &[Piece], name: &[char]) -> bool {
    let mut reachable = vec![false; pieces.len() + 1];
    reachable[0] = true;
    skip_empty_wildcards(pieces, &mut reachable);
    for &character in name {
        let mut next = vec![false; pieces.len() + 1];
        for (at, piece) in pieces.iter().enumerate().filter(|(at, _)| reachable[*at]) {
            match piece {
                Piece::Literal(literal) => next[at + 1] |= *literal == character,
                Piece::OneInPart => next[at + 1] |= character != '/',
                Piece::ManyInPart => next[at] |= character != '/',
                Piece::Anything => next[at] = true,
            }
        }
        skip_empty_wildcards(pieces, &mut next);
        reachable = next;
    }
    reachable[pieces.len()]
}

fn skip_empty_wildcards(pieces: &[Piece], reachable: &mut [bool]) {
    for (at, piece) in pieces.iter().enumerate() {
        if reachable[at] && matches!(piece, Piece::ManyInPart | Piece::Anything) {
            reachable[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("org/*", "org/app", true)]
    #[case("org/*", "Org/App", true)]
    #[case("org/*", "org/group/app", false)]
    #[case("org/**", "org/group/app", true)]
    #[case("**/fleet", "org/group/fleet", true)]
    #[case("org/app-?", "org/app-1", true)]
    #[case("org/app-?", "org/app-12", false)]
    #[case("org/*-x-*", "org/a-x-x-b", true)]
    #[case("org/app", "org/app2", false)]
    #[case("org/app", "xorg/app", false)]
    fn globs(#[case] glob: &str, #[case] name: &str, #[case] expected: bool) {
        let mut list = AllowList::default();
        list.add(glob).unwrap();
        assert_eq!(list.allows(name), expected);
    }

    #[test]
    fn the_empty_list_allows_everything_and_bad_globs_are_refused() {
        assert!(AllowList::default().allows("any/thing"));
        let mut list = AllowList::default();
        assert_eq!(list.add(""), Err(GlobError::Empty));
        assert_eq!(list.add("https://github.com/org/*"), Err(GlobError::NotAName));
        assert_eq!(list.add(&"a*".repeat(17)), Err(GlobError::TooManyWildcards));
    }
}
