//! What is wrong with a mapping.

use std::fmt;

/// What is wrong with a mapping, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    field: String,
    column: Option<usize>,
    why: String,
}

impl Misfit {
    /// Something about this field as a whole.
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            column: None,
            why: why.into(),
        }
    }

    /// Something at this column of it, counted from 1.
    pub fn at(field: impl Into<String>, column: usize, why: impl Into<String>) -> Self {
        Self {
            column: Some(column),
            ..Self::new(field, why)
        }
    }

    /// The same, whose text begins at this column of a longer one.
    #[must_use]
    pub fn within(self, begins_at: usize) -> Self {
        Self {
            column: self.column.map(|column| column + begins_at - 1),
            ..self
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, column, why } = self;
        match column {
            Some(column) => write!(f, "{field}, column {column}: {why}"),
            None => write!(f, "{field}: {why}"),
        }
    }
}
