//! Rows read together, in one byte arena.
//!
//! A row is laid out as PostgreSQL's binary COPY lays out a tuple, so that pages of that encoding can be handed on as they are:
//!
//! ```text
//! row  = cell count: u16 big-endian, then the cells
//! cell = length: i32 big-endian (-1 is NULL), then that many bytes in the page's encoding
//! ```

use super::{DataType, Value, canonical};
use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::sync::Arc;

/// How the cells of a page are encoded, and how one is decoded.
#[derive(Clone, Copy)]
pub struct Encoding {
    name: &'static str,
    decode: for<'a> fn(&DataType, &'a [u8]) -> Result<Value<'a>>,
    text_bytes: for<'a> fn(&DataType, &'a [u8]) -> Option<&'a [u8]>,
}

impl Encoding {
    /// Cells in the canonical encoding of [`crate::value::canonical`], whatever the column's type.
    pub const CANONICAL: Encoding = Encoding::new("canonical", |_, bytes| canonical::decode_cell(bytes))
        .with_text_bytes(|_, bytes| canonical::text_bytes(bytes));

    /// Creates an adapter's own encoding. `decode` gets the column's type and the cell's bytes, never a NULL.
    pub const fn new(name: &'static str, decode: for<'a> fn(&DataType, &'a [u8]) -> Result<Value<'a>>) -> Self {
        Encoding { name, decode, text_bytes: |_, _| None }
    }

    /// Says how the bytes of text (text, json, jsonb, typed text) are found in a cell; by default no cell has any.
    #[must_use]
    pub const fn with_text_bytes(mut self, text_bytes: for<'a> fn(&DataType, &'a [u8]) -> Option<&'a [u8]>) -> Self {
        self.text_bytes = text_bytes;
        self
    }

    /// Returns the bytes of a cell that is text of some kind, without looking whether they are UTF-8; `None` if it is anything else.
    ///
    /// For those who store text as bytes, of cells that were decoded before; [`Encoding::decode`] is for all others.
    #[inline]
    pub fn text_bytes<'a>(&self, data_type: &DataType, cell: &'a [u8]) -> Option<&'a [u8]> {
        (self.text_bytes)(data_type, cell)
    }

    /// Returns the name; two encodings are the same when their names are.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Decodes one cell; `None` is NULL.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are not of this encoding.
    #[inline]
    pub fn decode<'a>(&self, data_type: &DataType, cell: Option<&'a [u8]>) -> Result<Value<'a>> {
        match cell {
            None => Ok(Value::Null),
            Some(bytes) => (self.decode)(data_type, bytes),
        }
    }
}

impl PartialEq for Encoding {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoding({})", self.name)
    }
}

/// A column of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct PageColumn {
    /// The column's name.
    pub name: String,
    /// What its cells decode to.
    pub data_type: DataType,
}

/// Rows read together: one arena of bytes with the end of each row.
///
/// A clone shares the arena, so that a page can be handed to another thread or task without a copy.
#[derive(Clone)]
pub struct Page {
    columns: Arc<[PageColumn]>,
    encoding: Encoding,
    rows: Arc<Rows>,
    /// Where the next page starts: the key of this page's last row. `None` is the only signal that the range is exhausted.
    pub next: Option<super::Key>,
}

/// The rows of a page, back to back.
#[derive(Debug, Default)]
struct Rows {
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.data[start..self.ends[row]]
    }
}

impl Page {
    /// Returns the columns, in the order of the cells.
    pub fn columns(&self) -> &Arc<[PageColumn]> {
        &self.columns
    }

    /// Returns the encoding of the cells.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the number of rows.
    pub fn row_count(&self) -> usize {
        self.rows.ends.len()
    }

    /// Returns whether the page has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.ends.is_empty()
    }

    /// Returns the arena: all rows, back to back, in the layout of this module.
    pub fn data(&self) -> &[u8] {
        &self.rows.data
    }

    /// Returns one row.
    ///
    /// # Panics
    /// If `row` is not below [`Page::row_count`].
    pub fn row(&self, row: usize) -> RowRef<'_> {
        RowRef { columns: &self.columns, encoding: self.encoding, data: self.rows.get(row) }
    }

    /// Iterates over the rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = RowRef<'_>> + '_ {
        (0..self.row_count()).map(|row| self.row(row))
    }

    /// Returns the position of a column by name.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// Returns the same rows under other column names and types; the count must be the same.
    #[must_use]
    pub fn with_columns(mut self, columns: Arc<[PageColumn]>) -> Self {
        debug_assert_eq!(columns.len(), self.columns.len());
        self.columns = columns;
        self
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("encoding", &self.encoding.name)
            .field("columns", &self.columns.len())
            .field("rows", &self.row_count())
            .field("bytes", &self.rows.data.len())
            .finish_non_exhaustive()
    }
}

/// One row of a page.
#[derive(Clone, Copy)]
pub struct RowRef<'a> {
    columns: &'a [PageColumn],
    encoding: Encoding,
    data: &'a [u8],
}

impl<'a> RowRef<'a> {
    /// Iterates over the raw cells; `None` is NULL.
    pub fn cells(&self) -> Cells<'a> {
        Cells { rest: self.data.get(2..).unwrap_or_default() }
    }

    /// Returns the row's bytes in the layout of the page module.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Decodes one cell.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the cell does not exist or its bytes are not of the page's encoding.
    pub fn value(&self, column: usize) -> Result<Value<'a>> {
        let cell = self.cells().nth(column);
        match (self.columns.get(column), cell) {
            (Some(c), Some(cell)) => self.encoding.decode(&c.data_type, cell),
            _ => Err(Error::new(ErrorKind::Corrupt, "a row has fewer cells than its page has columns")),
        }
    }

    /// Decodes all cells in order.
    ///
    /// # Errors
    /// As [`RowRef::value`].
    pub fn values(&self) -> Result<Vec<Value<'a>>> {
        let mut cells = self.cells();
        self.columns
            .iter()
            .map(|c| match cells.next() {
                Some(cell) => self.encoding.decode(&c.data_type, cell),
                None => Err(Error::new(ErrorKind::Corrupt, "a row has fewer cells than its page has columns")),
            })
            .collect()
    }
}

impl fmt::Debug for RowRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowRef({} bytes)", self.data.len())
    }
}

/// The raw cells of one row; see [`RowRef::cells`].
#[derive(Debug, Clone)]
pub struct Cells<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Cells<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_first_chunk::<4>()?;
        match usize::try_from(i32::from_be_bytes(*head)) {
            Err(_) => {
                self.rest = rest;
                Some(None)
            }
            Ok(length) => {
                let (cell, rest) = rest.split_at_checked(length)?;
                self.rest = rest;
                Some(Some(cell))
            }
        }
    }
}

/// Builds a page row by row.
#[derive(Debug)]
pub struct PageBuilder {
    columns: Arc<[PageColumn]>,
    encoding: Encoding,
    rows: Rows,
    open: Option<usize>,
}

impl PageBuilder {
    /// Creates a builder for rows of these columns in an encoding.
    pub fn new(columns: Arc<[PageColumn]>, encoding: Encoding) -> Self {
        PageBuilder { columns, encoding, rows: Rows::default(), open: None }
    }

    /// Reserves room for so many bytes.
    #[must_use]
    pub fn with_capacity(mut self, bytes: usize) -> Self {
        self.rows.data.reserve(bytes);
        self
    }

    /// Adds a whole row that is already in the layout of this module.
    #[inline]
    pub fn push_row(&mut self, row: &[u8]) {
        debug_assert!(self.open.is_none());
        self.rows.data.extend_from_slice(row);
        self.rows.ends.push(self.rows.data.len());
    }

    /// Starts a row; add its cells in order, then call [`PageBuilder::end_row`].
    pub fn begin_row(&mut self) {
        debug_assert!(self.open.is_none());
        self.open = Some(self.rows.data.len());
        let count = u16::try_from(self.columns.len()).unwrap_or(u16::MAX);
        self.rows.data.extend_from_slice(&count.to_be_bytes());
    }

    /// Adds a NULL cell.
    #[inline]
    pub fn push_null(&mut self) {
        self.rows.data.extend_from_slice(&(-1i32).to_be_bytes());
    }

    /// Adds a cell whose bytes are in the page's encoding.
    ///
    /// # Errors
    /// [`ErrorKind::RowRejected`] if the cell is larger than 2 GiB.
    #[inline]
    pub fn push_cell(&mut self, cell: &[u8]) -> Result<()> {
        self.push_cell_with(|data| data.extend_from_slice(cell))
    }

    /// Adds a cell that `write` appends to the arena.
    ///
    /// # Errors
    /// [`ErrorKind::RowRejected`] if the cell is larger than 2 GiB.
    #[inline]
    pub fn push_cell_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let data = &mut self.rows.data;
        let at = data.len();
        data.extend_from_slice(&[0; 4]);
        write(data);
        let length =
            i32::try_from(data.len() - at - 4).map_err(|_| Error::new(ErrorKind::RowRejected, "a cell is larger than 2 GiB"))?;
        data[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Adds a cell in the canonical encoding; the page's encoding must be [`Encoding::CANONICAL`].
    ///
    /// # Errors
    /// [`ErrorKind::RowRejected`] if the cell is larger than 2 GiB.
    #[inline]
    pub fn push_value(&mut self, value: &Value<'_>) -> Result<()> {
        debug_assert!(self.encoding == Encoding::CANONICAL);
        if value.is_null() {
            self.push_null();
            return Ok(());
        }
        self.push_cell_with(|data| canonical::encode_value(value, data))
    }

    /// Ends the row that was begun.
    pub fn end_row(&mut self) {
        self.open = None;
        self.rows.ends.push(self.rows.data.len());
    }

    /// Drops the row that was begun, or else nothing.
    pub fn discard_row(&mut self) {
        if let Some(start) = self.open.take() {
            self.rows.data.truncate(start);
        }
    }

    /// Returns the number of bytes so far.
    pub fn bytes(&self) -> usize {
        self.rows.data.len()
    }

    /// Returns the bytes from a place on, as [`PageBuilder::bytes`] gave it.
    ///
    /// # Panics
    /// If `from` lies behind the end.
    pub fn tail(&self, from: usize) -> &[u8] {
        &self.rows.data[from..]
    }

    /// Returns the number of finished rows.
    pub fn row_count(&self) -> usize {
        self.rows.ends.len()
    }

    /// Returns one finished row.
    pub fn row(&self, row: usize) -> RowRef<'_> {
        RowRef { columns: &self.columns, encoding: self.encoding, data: self.rows.get(row) }
    }

    /// Finishes the page. `next` is the key to continue after, `None` at the end of the range.
    pub fn finish(self, next: Option<super::Key>) -> Page {
        Page { columns: self.columns, encoding: self.encoding, rows: Arc::new(self.rows), next }
    }
}
