//! Cutting texts to size, visibly.
//!
//! Knows bytes and characters. Must not know which field it cuts.

/// Ends a text that was cut.
pub const MARK: &str = " … (cut)";

/// At most `bytes_max` bytes on a character boundary, ending with [`MARK`] where something was left out. Control characters
/// other than line breaks and tabs become spaces, so that a text cannot move a terminal's cursor.
pub fn cut(text: &str, bytes_max: usize) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c };
    if text.len() <= bytes_max {
        return text.chars().map(plain).collect();
    }
    let keep = text.floor_char_boundary(bytes_max.saturating_sub(MARK.len()));
    let mut short: String = text[..keep].chars().map(plain).collect();
    short.push_str(MARK);
    short
}

/// An identifier from outside: printable ASCII as it is, each other character an underscore, no more than `bytes_max` bytes.
pub fn identifier(text: &str, bytes_max: usize) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(bytes_max).collect()
}
