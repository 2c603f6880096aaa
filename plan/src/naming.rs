//! Many names in one message: some are named, the rest is counted.
//!
//! Knows words only. Conditions and Events have bounds (a message of some KiB), and nobody reads five thousand names.

/// Names listed one by one; the rest is counted.
pub const NAMED_MAX: usize = 10;

/// The first names, and how many there are besides: `a, b and 3 more`.
#[must_use]
pub fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    let mut text = names.take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_counted() {
        let names = |n: usize| (0..n).map(|n| n.to_string());
        assert_eq!(list(names(0)), "");
        assert_eq!(list(names(2)), "0, 1");
        assert_eq!(list(names(10)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9");
        assert_eq!(list(names(12)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more");
    }
}
