//! What a project claims of itself, to be seen beside what was found.

use crate::yaml::{Node, YamlError};

/// The most claims of one file.
const MAX_CLAIMS: usize = 1_000;

/// Claims: who makes them, and the levels at which each row is said to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Where they were made.
    pub from: String,
    /// The title of a row, and the levels.
    pub rows: Vec<(String, Vec<u8>)>,
}

impl Claims {
    /// Reads a file: `from:`, and `claims:` with titles of rows and levels.
    ///
    /// ```
    /// use countersign_slsa::assess::Claims;
    /// let claims = Claims::read("from: our site\nclaims:\n  Hermetic: [4]\n")?;
    /// assert_eq!(claims.rows, [("Hermetic".to_owned(), vec![4])]);
    /// # Ok::<(), countersign_slsa::yaml::YamlError>(())
    /// ```
    ///
    /// # Errors
    /// [`YamlError`]: no YAML, no claims, levels that are none.
    pub fn read(text: &str) -> Result<Self, YamlError> {
        let node = Node::read(text)?;
        let claims = node.get("claims").map_or(&[][..], Node::fields);
        if claims.is_empty() || claims.len() > MAX_CLAIMS {
            let found = claims.len();
            return Err(YamlError::new(format!("claims: expected 1 to {MAX_CLAIMS} rows, found {found}")));
        }
        let levels = |(title, value): &(String, Node)| {
            let level =
                |item: &Node| item.scalar()?.parse::<u8>().ok().filter(|level| (1..=4).contains(level));
            let read: Option<Vec<u8>> = value.items().iter().map(level).collect();
            let read = read.filter(|read| !read.is_empty());
            let line = value.line();
            read.map(|read| (title.clone(), read)).ok_or_else(|| {
                YamlError::new(format!("line {line}: {title}: expected a list of levels from 1 to 4"))
            })
        };
        Ok(Self {
            from: node.text("from").unwrap_or_default().to_owned(),
            rows: claims.iter().map(levels).collect::<Result<_, _>>()?,
        })
    }

    /// The levels that are claimed of a row.
    #[must_use]
    pub fn of(&self, title: &str) -> &[u8] {
        self.rows.iter().find(|(own, _)| own == title).map_or(&[], |(_, levels)| levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_name_rows_and_levels() {
        for bad in
            ["", "claims: {}", "claims: {A: 1}", "claims: {A: []}", "claims: {A: [5]}", "claims: [A]", "["]
        {
            assert!(Claims::read(bad).is_err(), "{bad}");
        }
        let read = Claims::read("claims: {A: [1, 2]}").unwrap();
        assert_eq!((read.of("A"), read.of("B")), (&[1, 2][..], &[][..]));
    }
}
