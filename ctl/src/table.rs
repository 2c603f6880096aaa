//! Columns of text. Knows widths; must not know what is in the cells.

/// Between columns, as kubectl has it.
const GAP: usize = 3;

/// Lines up rows under a heading. A column is as wide as its widest cell; the last one is not padded.
pub(crate) fn render(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|&cell| cell.to_owned()).collect();
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            let cells = std::iter::once(&heading).chain(rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + GAP - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One line of at most so many characters.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let whole = line.chars().count() <= chars_max && line.len() == text.trim_end().len();
    if whole { line.to_owned() } else { line.chars().take(chars_max - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_tail() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            render(&["NAME", "AGE"], &[row(["ä", "1d"]), row(["longer", ""])]),
            "NAME     AGE\nä        1d\nlonger\n"
        );
    }

    #[test]
    fn a_cut_is_visible() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "long…");
        assert_eq!(cut("two\nlines", 10), "two…");
    }
}
