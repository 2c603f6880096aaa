//! Ranges of versions, and which of a repository's tags is the newest in one.
//!
//! The syntax is that of Masterminds/semver, which Flux's users write: comparators separated by a comma or a space all hold (`>=1.2 <2`),
//! groups separated by `||` are alternatives; `=`, `!=`, `>`, `>=`, `<`, `<=`, `~`, `^`, `1.2 - 1.4`, and `x`, `X` or `*` for any number.
//! What is left out is any number, too: `1.2` means `1.2.x`. Pre-releases are in a group only if one of its comparators names one, as in
//! `>=1.2.0-0`. Order is that of Semantic Versioning 2.0.0; of versions that differ in nothing but build metadata the one whose metadata
//! sorts last is the newest. Knows versions and names. Must not know Git.

use std::cmp::Ordering;
use std::ops::Bound;

use semver::{Prerelease, Version};

/// Nobody writes a longer range; it is read for each event.
const BYTES_MAX: usize = 256;

/// A range, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRange {
    text: String,
    groups: Vec<Group>,
}

/// Comparators that hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    comparators: Vec<Comparator>,
    /// One of them names a pre-release.
    admits_pre: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparator {
    low: Bound<Version>,
    high: Bound<Version>,
    /// All but what is between the bounds.
    outside: bool,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagRangeError {
    #[error("a range of versions has at most {BYTES_MAX} bytes")]
    TooLong,
    #[error("there is no version in {0:?}: write a range as in >=1.2.0 <2.0.0, 1.x or ^1.2")]
    Empty(String),
    #[error("{0:?} is no comparison: =, !=, >, >=, <, <=, ~ and ^ are known")]
    Operator(String),
    #[error("{0:?} is no version: write one as in 1.2.3, 1.2, 1.x or 1.2.3-rc.1")]
    Version(String),
}

/// The tags of a repository, as a range sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Newest {
    /// The newest in the range.
    pub tag: Option<String>,
    /// How many tags are versions at all.
    pub versions: usize,
    /// The newest of those.
    pub highest: Option<String>,
}

impl TagRange {
    /// # Errors
    /// The first part that cannot be read.
    pub fn parse(text: &str) -> Result<Self, TagRangeError> {
        if text.len() > BYTES_MAX {
            return Err(TagRangeError::TooLong);
        }
        let groups = text.split("||").map(Group::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.trim().to_owned(), groups })
    }

    /// Whether a tag is a version in this range: `1.2.3` or `v1.2.3`, written out in full.
    #[must_use]
    pub fn admits(&self, tag: &str) -> bool {
        version(tag).is_some_and(|version| self.matches(&version))
    }

    /// Which tag is the newest. Those that are no versions do not count.
    #[must_use]
    pub fn newest<'a>(&self, tags: impl IntoIterator<Item = &'a str>) -> Newest {
        let mut versions: Vec<_> = tags.into_iter().filter_map(|tag| Some((version(tag)?, tag))).collect();
        versions.sort();
        let name = |found: Option<&(Version, &str)>| found.map(|(_, tag)| (*tag).to_owned());
        Newest {
            tag: name(versions.iter().rev().find(|(version, _)| self.matches(version))),
            versions: versions.len(),
            highest: name(versions.last()),
        }
    }

    fn matches(&self, version: &Version) -> bool {
        self.groups.iter().any(|group| group.matches(version))
    }
}

impl std::fmt::Display for TagRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn version(tag: &str) -> Option<Version> {
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}

impl Group {
    fn parse(text: &str) -> Result<Self, TagRangeError> {
        let mut group = Self { comparators: Vec::new(), admits_pre: false };
        let mut rest = text.trim_start_matches(is_between);
        while !rest.is_empty() {
            let (operator, after) = split(rest, |c| "=<>!~^".contains(c));
            let (written, after) = split(after.trim_start(), |c| !is_between(c) && !"=<>!~^".contains(c));
            rest = after.trim_start_matches(is_between);
            let hyphen = rest.strip_prefix('-').filter(|upper| upper.starts_with(' ') && operator.is_empty());
            let Some(upper) = hyphen else {
                group.add(operator, written)?;
                continue;
            };
            let (upper, after) = split(upper.trim_start(), |c| !is_between(c));
            group.add(">=", written)?;
            group.add("<=", upper)?;
            rest = after.trim_start_matches(is_between);
        }
        match group.comparators.is_empty() {
            true => Err(TagRangeError::Empty(text.to_owned())),
            false => Ok(group),
        }
    }

    fn add(&mut self, operator: &str, written: &str) -> Result<(), TagRangeError> {
        let partial = Partial::parse(written).ok_or_else(|| TagRangeError::Version(written.to_owned()))?;
        self.admits_pre |= !partial.least.pre.is_empty();
        let comparator = Comparator::of(operator, &partial).ok_or_else(|| TagRangeError::Operator(operator.to_owned()));
        self.comparators.push(comparator?);
        Ok(())
    }

    fn matches(&self, version: &Version) -> bool {
        (version.pre.is_empty() || self.admits_pre) && self.comparators.iter().all(|one| one.matches(version))
    }
}

fn is_between(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// The beginning of which this is true of every character, and what follows.
fn split(text: &str, is: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is(c)).unwrap_or(text.len()))
}

/// A version of which the end may be left out.
struct Partial {
    /// With zeros for what is left out.
    least: Version,
    /// How many of its numbers are written.
    numbers: usize,
}

impl Partial {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = core.split('.');
        let (mut numbers, mut written) = ([0; 3], 0);
        for (at, part) in parts.by_ref().take(3).enumerate() {
            if matches!(part, "x" | "X" | "*") {
                // Behind any number there is nothing but any number.
                return (parts.all(|part| matches!(part, "x" | "X" | "*")) && core == text)
                    .then(|| Self { least: Version::new(numbers[0], numbers[1], 0), numbers: written });
            }
            numbers[at] = part.parse().ok().filter(|_| part == "0" || !part.starts_with('0'))?;
            written = at + 1;
        }
        if parts.next().is_some() {
            return None;
        }
        let [major, minor, patch] = numbers;
        match written {
            3 => Some(Self { least: Version::parse(text).ok()?, numbers: 3 }),
            _ => (core == text).then(|| Self { least: Version::new(major, minor, patch), numbers: written }),
        }
    }

    /// The first version, pre-releases included, in which one of the first so many numbers is higher.
    fn above(&self, numbers: usize) -> Bound<Version> {
        let Version { major, minor, patch, .. } = self.least;
        let mut next = match numbers {
            0 => return Bound::Unbounded,
            1 => Version::new(major.saturating_add(1), 0, 0),
            2 => Version::new(major, minor.saturating_add(1), 0),
            _ => Version::new(major, minor, patch.saturating_add(1)),
        };
        next.pre = Prerelease::new("0").unwrap_or_default();
        Bound::Excluded(next)
    }
}

impl Comparator {
    fn of(operator: &str, partial: &Partial) -> Option<Self> {
        use Bound::{Excluded, Included, Unbounded};
        let (least, numbers) = (|| partial.least.clone(), partial.numbers);
        let from = match numbers {
            0 => Unbounded,
            _ => Included(least()),
        };
        let whole = |outside| match numbers {
            3 => Self { low: Included(least()), high: Included(least()), outside },
            _ => Self { low: from.clone(), high: partial.above(numbers), outside },
        };
        let within = |high| Self { low: from.clone(), high, outside: false };
        Some(match operator {
            "" | "=" | "==" => whole(false),
            "!=" => whole(true),
            // Above all that is meant, and so not below its end.
            ">" => Self { low: Unbounded, high: whole(false).high, outside: true },
            ">=" | "=>" => within(Unbounded),
            "<" if numbers == 0 => whole(true),
            "<" => Self { low: Unbounded, high: Excluded(least()), outside: false },
            "<=" | "=<" => Self { low: Unbounded, high: whole(false).high, outside: false },
            "~" | "~>" => within(partial.above(numbers.min(2))),
            "^" => {
                let first =
                    [partial.least.major, partial.least.minor].iter().take_while(|number| **number == 0).count();
                within(partial.above((first + 1).min(numbers)))
            }
            _ => return None,
        })
    }

    fn matches(&self, version: &Version) -> bool {
        let is = |bound: &Bound<Version>, inner: Ordering| match bound {
            Bound::Unbounded => true,
            Bound::Included(bound) => version.cmp_precedence(bound) != inner.reverse(),
            Bound::Excluded(bound) => version.cmp_precedence(bound) == inner,
        };
        (is(&self.low, Ordering::Greater) && is(&self.high, Ordering::Less)) != self.outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Range, what is in it, what is not. From the documented meaning of each form.
    const TABLE: &[(&str, &[&str], &[&str])] = &[
        ("1.2.3", &["1.2.3", "v1.2.3", "1.2.3+build.5"], &["1.2.4", "1.2.2", "1.2.3-rc.1", "1.2", "release-1.2.3"]),
        ("=1.2", &["1.2.0", "1.2.9"], &["1.3.0", "1.1.9", "1.2.1-rc.1"]),
        ("1", &["1.0.0", "1.99.0"], &["2.0.0", "0.9.9"]),
        ("1.x", &["1.0.0", "1.99.0"], &["2.0.0"]),
        ("*", &["0.0.0", "99.1.2"], &["1.0.0-rc.1"]),
        ("!=1.2.3", &["1.2.2", "1.2.4"], &["1.2.3"]),
        ("!=1.2.x", &["1.1.9", "1.3.0"], &["1.2.0", "1.2.7"]),
        (">1.2.3", &["1.2.4", "2.0.0"], &["1.2.3", "1.2.2"]),
        (">1", &["2.0.0"], &["1.0.0", "1.9.9"]),
        (">1.2", &["1.3.0", "2.0.0"], &["1.2.0", "1.2.9"]),
        (">=1.2", &["1.2.0", "3.0.0"], &["1.1.9"]),
        ("=> 1.2", &["1.2.0"], &["1.1.9"]),
        ("<1.2", &["1.1.9", "0.0.1"], &["1.2.0"]),
        ("<=1.2", &["1.2.0", "1.2.9"], &["1.3.0"]),
        ("<=1.2.3", &["1.2.3"], &["1.2.4"]),
        (">=1.2.0 <2.0.0", &["1.2.0", "1.99.9"], &["1.1.9", "2.0.0", "2.0.0-rc.1", "1.3.0-rc.1"]),
        (">=1.2.0, <2.0.0", &["1.2.0"], &["2.0.0"]),
        (">= 1.2.0,!= 1.3.0", &["1.2.0", "1.4.0"], &["1.3.0"]),
        ("~1.2.3", &["1.2.3", "1.2.9"], &["1.2.2", "1.3.0"]),
        ("~1.2", &["1.2.0"], &["1.3.0"]),
        ("~>1", &["1.0.0", "1.9.0"], &["2.0.0"]),
        ("^1.2.3", &["1.2.3", "1.9.0"], &["1.2.2", "2.0.0"]),
        ("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0", "0.2.2"]),
        ("^0.0.3", &["0.0.3"], &["0.0.4", "0.0.2"]),
        ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
        ("^0", &["0.0.0", "0.9.0"], &["1.0.0"]),
        ("^v1.2", &["1.2.0"], &["1.1.0"]),
        ("1.2 - 1.4.5", &["1.2.0", "1.4.5"], &["1.4.6", "1.1.9"]),
        ("1.2.0 - 1.4", &["1.4.9"], &["1.5.0"]),
        ("<1.0.0 || >=2.0.0 <2.1.0", &["0.9.0", "2.0.5"], &["1.0.0", "2.1.0"]),
        (">=1.0.0-0", &["1.0.0-alpha", "1.5.0-rc.1", "1.0.0"], &["0.9.9", "0.9.9-rc.1"]),
        (">=1.0.0-0 <2.0.0-0", &["1.9.0-rc.1"], &["2.0.0-rc.1", "2.0.0"]),
        ("^1.2.3-beta.2", &["1.2.3-beta.2", "1.2.3-rc.1", "1.9.0-rc.1"], &["1.2.3-beta.1", "2.0.0-alpha"]),
        (">=1.0.0-0 <1.1.0 || 2.x", &["1.0.5-rc.1", "2.1.0"], &["2.2.0-rc.1"]),
        ("1.2.3-rc.1", &["1.2.3-rc.1"], &["1.2.3", "1.2.3-rc.2"]),
    ];

    #[test]
    fn a_range_admits_what_it_says() {
        for (range, inside, outside) in TABLE {
            let parsed = TagRange::parse(range).unwrap_or_else(|error| panic!("{range}: {error}"));
            assert!(inside.iter().all(|tag| parsed.admits(tag)), "{range}: {parsed:?}");
            let wrong: Vec<_> = outside.iter().filter(|tag| parsed.admits(tag)).collect();
            assert!(wrong.is_empty(), "{range} admits {wrong:?}: {parsed:?}");
        }
    }

    #[test]
    fn what_is_no_range_says_what_is_wrong() {
        for (text, part) in [
            ("", "no version in"),
            ("1.2 ||", "no version in"),
            ("main", "\"main\" is no version"),
            (">=", "\"\" is no version"),
            ("1.2.3.4", "\"1.2.3.4\" is no version"),
            ("01.2", "\"01.2\" is no version"),
            ("1.x.3", "\"1.x.3\" is no version"),
            ("1.2-rc", "\"1.2-rc\" is no version"),
            ("<>1.2", "\"<>\" is no comparison"),
            ("1.2 -1.4", "\"-1.4\" is no version"),
            (&"1".repeat(300), "at most 256 bytes"),
        ] {
            let error = TagRange::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_newest_is_by_version_and_not_by_name() {
        let tags = ["v1.9.0", "v1.10.0", "1.2.0", "v2.0.0-rc.1", "latest", "v1.10.0+b2", "v1.10.0+b10", "v2"];
        let newest = |range| TagRange::parse(range).unwrap().newest(tags);
        assert_eq!(newest("1.x").tag.as_deref(), Some("v1.10.0+b2"));
        assert_eq!(newest("<1.9").tag.as_deref(), Some("1.2.0"));
        assert_eq!(newest(">=1.0.0-0").tag.as_deref(), Some("v2.0.0-rc.1"));
        let none = newest(">=3");
        assert_eq!((none.tag, none.versions, none.highest.as_deref()), (None, 6, Some("v2.0.0-rc.1")));
        assert_eq!(TagRange::parse("*").unwrap().newest([]), Newest::default());
    }
}
