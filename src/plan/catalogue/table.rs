//! The generated tables: what each release of Kubernetes knows, a name a row and a release a column.

use std::collections::BTreeMap;

/// What a cell says where the release does not know the name.
const UNKNOWN: &str = ".";

/// A table as it stands in `catalogue/generated`.
#[derive(Debug)]
pub(super) struct Table {
    /// The minor versions of Kubernetes 1 that have a column, one after the other.
    releases: Vec<u32>,
    /// Cells by component, then by name; what holds for all of them has no component.
    rows: BTreeMap<&'static str, BTreeMap<&'static str, Vec<&'static str>>>,
}

impl Table {
    /// Reads a table whose rows begin with a name, or with a component and a name.
    ///
    /// # Errors
    /// Names the line that is not valid.
    pub(super) fn read(text: &'static str) -> Result<Table, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        let (_, head) = lines.next().ok_or("it is empty")?;
        let columns: Vec<&str> = head.split('\t').collect();
        let keys = columns.iter().position(|c| c.starts_with("1.")).ok_or("no release has a column")?;
        let minor = |column: &&str| column.strip_prefix("1.")?.trim_end_matches('~').parse().ok();
        let releases: Option<Vec<u32>> = columns[keys..].iter().map(minor).collect();
        let releases = releases.ok_or_else(|| format!("{head}: not all of these are releases"))?;
        if releases.windows(2).any(|two| two[0] + 1 != two[1]) {
            return Err(format!("{head}: a release is left out"));
        }
        let mut rows: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (at, line) in lines {
            let mut cells: Vec<&'static str> = line.split('\t').collect();
            if cells.len() != columns.len() {
                return Err(format!("line {}: {} columns, not {}", at + 1, cells.len(), columns.len()));
            }
            let name = cells[keys - 1];
            let component = if keys > 1 { cells[0] } else { "" };
            if rows.entry(component).or_default().insert(name, cells.split_off(keys)).is_some() {
                return Err(format!("line {}: {name} is there twice", at + 1));
            }
        }
        Ok(Table { releases, rows })
    }

    /// Whether it has a column for `1.minor`.
    pub(super) fn covers(&self, minor: u32) -> bool {
        self.releases.contains(&minor)
    }

    /// The first and the last minor version that it covers.
    pub(super) fn span(&self) -> (u32, u32) {
        (self.releases.first().copied().unwrap_or(0), self.releases.last().copied().unwrap_or(0))
    }

    /// What it says of a name; none when no release knows it.
    pub(super) fn row(&self, component: &str, name: &str) -> Option<Row<'_>> {
        let cells = self.rows.get(component)?.get(name)?;
        Some(Row { releases: &self.releases, cells })
    }

    /// All names, each with its component.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.rows.iter().flat_map(|(component, rows)| rows.keys().map(|name| (*component, *name)))
    }
}

/// What a table says of one name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    releases: &'a [u32],
    cells: &'a [&'static str],
}

impl Row<'_> {
    /// The releases that know it, in order, each with its cell.
    pub(super) fn known(self) -> impl DoubleEndedIterator<Item = (u32, &'static str)> {
        let (releases, cells) = (self.releases.to_vec(), self.cells.to_vec());
        releases.into_iter().zip(cells).filter(|(_, cell)| *cell != UNKNOWN)
    }

    /// What `1.minor` says of it; none when it does not know it.
    pub(super) fn at(self, minor: u32) -> Option<&'static str> {
        self.known().find(|(release, _)| *release == minor).map(|(_, cell)| cell)
    }

    /// The last release before `1.minor` that knows it.
    pub(super) fn before(self, minor: u32) -> Option<(u32, &'static str)> {
        self.known().rfind(|(release, _)| *release < minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_which_release_knows_what() {
        let table = Table::read("# why\ncomponent\tflag\t1.29\t1.30\t1.31~\nkubelet\told\t+\t.\t.\n").unwrap();
        assert_eq!(table.span(), (29, 31));
        assert!(table.covers(30) && !table.covers(32));
        let old = table.row("kubelet", "old").unwrap();
        assert_eq!((old.at(29), old.at(30), old.before(31), old.before(29)), (Some("+"), None, Some((29, "+")), None));
        assert!(table.row("kube-proxy", "old").is_none() && table.row("kubelet", "new").is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("", "empty"),
            ("gate\tstage\n", "no release"),
            ("gate\t1.29\t1.31\n", "left out"),
            ("gate\t1.29\tx\n", "not all"),
            ("gate\t1.29\nA\t+\t+\n", "line 2"),
            ("gate\t1.29\nA\t+\nA\t+\n", "twice"),
        ] {
            let why = Table::read(text).unwrap_err();
            assert!(why.contains(word), "{text:?}: {why}");
        }
    }
}
