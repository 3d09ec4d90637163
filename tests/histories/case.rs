//! What a history is made of, and how one is drawn.

use crate::faults::Action;
use crate::keys::{CLASSES, Collation, Keys, Kind, SPELLINGS};
use migrate_core::ErrorKind;
use migrate_core::job::{DeleteMode, Mode, OnConflict};
use migrate_tests::Engine;
use proptest::prelude::*;

/// One history.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) shape: Shape,
    /// The source's rows before the first sync.
    pub(crate) first: Vec<(usize, Content)>,
    /// Rows of others in the target before the first sync, where there is a table.
    pub(crate) others: Vec<(usize, Content)>,
    pub(crate) rounds: Vec<Round>,
}

/// The tables and the job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    /// Whether the key has a second column, and whether it comes first.
    pub(crate) composite: Option<bool>,
    pub(crate) extra: Extra,
    pub(crate) mode: Mode,
    pub(crate) deletes: DeleteMode,
    pub(crate) policy: OnConflict,
    /// Whether every row is read each time.
    pub(crate) full: bool,
    pub(crate) batch_rows: u64,
    pub(crate) page_bytes: u64,
    /// How many parts of the table are walked at the same time, where both sides can.
    pub(crate) parts: usize,
    /// Whether the job creates the target's table.
    pub(crate) created: bool,
}

/// What makes the target refuse rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    /// A column has different values in all rows, on both sides.
    Unique,
    /// A column of the target is too narrow for some values.
    Narrow,
    /// A check of the target refuses some values.
    Check,
}

/// A row's content beside its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content {
    pub(crate) spelling: usize,
    pub(crate) text: usize,
    pub(crate) number: usize,
    /// Whether the unique column is NULL.
    pub(crate) nameless: bool,
}

/// What happens between two syncs, and during the second.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) edits: Vec<Edit>,
    pub(crate) at_target: Vec<TargetEdit>,
    pub(crate) fault: Option<Fault>,
    /// Whether the run is planned first.
    pub(crate) planned: bool,
}

/// A run that does not reach its end.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) action: Action,
    pub(crate) nth: u64,
    /// What happens at the source before the next run goes on.
    pub(crate) between: Vec<Edit>,
    /// Whether the next run knows of the first only what the target knows.
    pub(crate) forgotten: bool,
}

/// A change at the source. Rows are named by a number, of which the rest modulo the number of rows is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit {
    Insert(usize, Content),
    Set(usize, Content),
    SetText(usize, usize),
    SetNumber(usize, usize),
    /// Written anew with what it says already.
    Touch(usize),
    Delete(usize),
    /// Deleted and inserted with the same content.
    Reinsert(usize),
    /// Gets another key.
    Move(usize, usize),
    /// Gets another spelling of its key.
    Respell(usize, usize),
    /// Two rows exchange their unique values.
    Swap(usize, usize),
    /// Three rows pass their unique values on.
    Rotate(usize, usize, usize),
    /// A row is deleted, and its unique value goes to a new one.
    Bequeath(usize, usize),
    /// A column is added, with a default or without.
    AddColumn(Option<u8>),
    /// An added column gets values.
    FillColumn(usize, usize),
    DropColumn(usize),
    RenameColumn(usize),
    /// The table is rewritten as it is.
    Rewrite,
}

/// A change in the target by somebody else.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TargetEdit {
    Insert(usize, Content),
    SetText(usize, usize),
    SetNumber(usize, usize),
    /// In a column that the source does not have.
    SetNote(usize, u8),
    Delete(usize),
}

/// Which rows may be changed by an edit.
pub(crate) type Allowed<'a> = &'a dyn Fn(usize) -> bool;

const ANY: std::ops::Range<usize> = 0..1 << 16;

fn content() -> impl Strategy<Value = Content> {
    (
        0..SPELLINGS,
        0..TEXTS.len(),
        prop_oneof![9 => 0..NUMBERS.len() - 1, 1 => Just(NUMBERS.len() - 1)],
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(spelling, text, number, nameless)| Content { spelling, text, number, nameless })
}

/// Values of the text column.
pub(crate) const TEXTS: [Option<&str>; 5] = [None, Some(""), Some("one"), Some("ONE"), Some("zw\u{f6}lf 'Boxk\u{e4}mpfer'")];
/// Values of the number column; only a wide one holds the last.
pub(crate) const NUMBERS: [Option<i64>; 5] = [None, Some(0), Some(1), Some(-7), Some(5_000_000_000)];

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0..CLASSES, content()).prop_map(|(class, content)| Edit::Insert(class, content)),
        2 => (ANY, content()).prop_map(|(row, content)| Edit::Set(row, content)),
        3 => (ANY, 0..TEXTS.len()).prop_map(|(row, text)| Edit::SetText(row, text)),
        3 => (ANY, 0..NUMBERS.len() - 1).prop_map(|(row, number)| Edit::SetNumber(row, number)),
        1 => ANY.prop_map(Edit::Touch),
        4 => ANY.prop_map(Edit::Delete),
        1 => ANY.prop_map(Edit::Reinsert),
        2 => (ANY, 0..CLASSES).prop_map(|(row, class)| Edit::Move(row, class)),
        4 => (ANY, 0..SPELLINGS).prop_map(|(row, spelling)| Edit::Respell(row, spelling)),
        2 => (ANY, ANY).prop_map(|(a, b)| Edit::Swap(a, b)),
        1 => (ANY, ANY, ANY).prop_map(|(a, b, c)| Edit::Rotate(a, b, c)),
        1 => (ANY, 0..CLASSES).prop_map(|(row, class)| Edit::Bequeath(row, class)),
        1 => proptest::option::of(0u8..9).prop_map(Edit::AddColumn),
        1 => (ANY, ANY).prop_map(|(column, row)| Edit::FillColumn(column, row)),
        1 => ANY.prop_map(Edit::DropColumn),
        1 => ANY.prop_map(Edit::RenameColumn),
        1 => Just(Edit::Rewrite),
    ]
}

fn target_edit() -> impl Strategy<Value = TargetEdit> {
    prop_oneof![
        1 => (0..CLASSES, content()).prop_map(|(class, content)| TargetEdit::Insert(class, content)),
        3 => (ANY, 0..TEXTS.len()).prop_map(|(row, text)| TargetEdit::SetText(row, text)),
        3 => (ANY, 0..NUMBERS.len() - 1).prop_map(|(row, number)| TargetEdit::SetNumber(row, number)),
        1 => (ANY, 0u8..3).prop_map(|(row, note)| TargetEdit::SetNote(row, note)),
        1 => ANY.prop_map(TargetEdit::Delete),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let action = prop_oneof![
        4 => Just(Action::Vanish),
        4 => Just(Action::VanishAfter),
        1 => Just(Action::Fail(ErrorKind::Conflict)),
        1 => Just(Action::Fail(ErrorKind::ConnectionLost)),
        1 => Just(Action::Fail(ErrorKind::CommitUnknown)),
        1 => Just(Action::Fail(ErrorKind::Internal)),
        2 => Just(Action::LoseAnswer),
        1 => Just(Action::Stop),
        1 => Just(Action::Abort),
    ];
    let between = prop_oneof![1 => Just(Vec::new()), 1 => proptest::collection::vec(edit(), 1..6)];
    (action, 1u64..24, between, proptest::bool::weighted(0.3)).prop_map(|(action, nth, between, forgotten)| Fault {
        action,
        nth,
        between,
        forgotten,
    })
}

fn round() -> impl Strategy<Value = Round> {
    (
        proptest::collection::vec(edit(), 0..10),
        proptest::collection::vec(target_edit(), 0..4),
        proptest::option::weighted(0.5, fault()),
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(edits, at_target, fault, planned)| Round { edits, at_target, fault, planned })
}

fn kind() -> impl Strategy<Value = Kind> {
    let collation = prop_oneof![Just(Collation::Default), Just(Collation::Bytes), Just(Collation::Icu)];
    prop_oneof![
        2 => Just(Kind::Integer),
        2 => collation.prop_map(Kind::Text),
        3 => (proptest::bool::ANY, proptest::bool::ANY).prop_map(|(source_folds, target_folds)| Kind::Letters { source_folds, target_folds }),
        1 => Just(Kind::Uuid),
        2 => Just(Kind::Numeric),
        1 => Just(Kind::Moment),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let extra =
        prop_oneof![2 => Just(Extra::Nothing), 2 => Just(Extra::Unique), 1 => Just(Extra::Narrow), 1 => Just(Extra::Check)];
    let mode = prop_oneof![2 => Just(Mode::Replace), 2 => Just(Mode::Update), 1 => Just(Mode::Append)];
    let deletes = prop_oneof![1 => Just(DeleteMode::Ignore), 1 => Just(DeleteMode::Soft), 2 => Just(DeleteMode::Hard)];
    let policy = prop_oneof![Just(OnConflict::Source), Just(OnConflict::Target), Just(OnConflict::Report)];
    (
        (kind(), proptest::option::weighted(0.3, proptest::bool::ANY), extra),
        (mode, deletes, policy),
        (
            proptest::bool::weighted(0.3),
            1u64..12,
            prop_oneof![Just(1u64), Just(200), Just(1 << 16)],
            prop_oneof![2 => Just(1usize), 1 => 2usize..5],
            proptest::bool::weighted(0.3),
        ),
    )
        .prop_map(|((kind, composite, extra), (mode, deletes, policy), (full, batch_rows, page_bytes, parts, created))| {
            Shape { kind, composite, extra, mode, deletes, policy, full, batch_rows, page_bytes, parts, created }
        })
}

/// Draws histories.
pub(crate) fn case() -> impl Strategy<Value = Case> {
    (
        shape(),
        proptest::collection::vec((0..CLASSES, content()), 0..40),
        proptest::collection::vec((0..CLASSES, content()), 0..4),
        proptest::collection::vec(round(), 1..4),
    )
        .prop_map(|(shape, first, others, rounds)| Case { shape, first, others, rounds })
}

impl Shape {
    /// Returns the same shape without what does not go together on this pair.
    pub(crate) fn settled(mut self, source: Engine, target: Engine) -> (Self, Keys) {
        let keys = |created| Keys { kind: self.kind, source, target, created };
        // A table of text cannot tell which of the source's numbers are one key: it is refused.
        if self.kind == Kind::Numeric && source != Engine::Sqlite && target == Engine::Sqlite {
            (self.created, self.extra) = (true, if self.refuses() { Extra::Nothing } else { self.extra });
        }
        // What refuses rows is the test's own table.
        self.created &= keys(true).can_be_created() && !self.refuses();
        if self.extra == Extra::Narrow && target == Engine::Sqlite {
            self.extra = Extra::Check;
        }
        (self, keys(self.created))
    }

    /// Returns whether a unique value can go from a row that is gone to a new one.
    pub(crate) fn passes_names_on(&self) -> bool {
        self.extra == Extra::Unique && self.mode != Mode::Append && self.deletes == DeleteMode::Hard
    }

    /// Returns whether rows that stay can exchange unique values.
    pub(crate) fn exchanges_names(&self) -> bool {
        self.extra == Extra::Unique && self.mode != Mode::Append
    }

    /// Returns whether some values do not fit.
    pub(crate) fn refuses(&self) -> bool {
        matches!(self.extra, Extra::Narrow | Extra::Check)
    }
}
