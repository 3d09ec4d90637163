//! What a table is at the moment of writing: asked of the server once per transaction, because triggers come and go.

use crate::error::from_sqlx;
use crate::sql::{quote_ident, quote_table};
use migrate_core::schema::TableName;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use std::collections::HashMap;

/// How a table is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The table, quoted.
    pub(crate) qualified: String,
    /// `ONLY ` in front of a table that others may inherit from; a partitioned table is meant with its partitions.
    pub(crate) only: &'static str,
    /// The same where rows are looked for by their key: nothing where a trigger may send inserted rows to tables that inherit from
    /// this one, as partitions were made before there were any.
    pub(crate) only_by_key: &'static str,
    /// How many blocks the table had when the server was asked, if each row says which transaction has written it; 0 for a partitioned
    /// table, whose partitions have blocks of their own.
    pub(crate) blocks: Option<i64>,
    /// Whether rules rewrite statements on the table.
    pub(crate) rules: bool,
    /// Whether row-level security applies to this session's role.
    pub(crate) row_security: bool,
    /// Whether a trigger may change or swallow an inserted row.
    pub(crate) insert_triggers: bool,
    /// Whether a trigger may change or swallow an updated row.
    pub(crate) update_triggers: bool,
    /// Whether a trigger may keep a row from being deleted.
    pub(crate) delete_triggers: bool,
    columns: HashMap<String, ColumnFacts>,
}

/// How a column is to be written and compared.
#[derive(Debug, Clone)]
pub(crate) struct ColumnFacts {
    /// The type as SQL, modifiers included.
    pub(crate) type_sql: String,
    /// Whether it is `GENERATED ALWAYS AS IDENTITY`.
    pub(crate) identity_always: bool,
    /// Whether NULL is allowed.
    pub(crate) nullable: bool,
    /// Whether values that are equal are the same to the last bit.
    pub(crate) exact: bool,
    /// Whether its equality takes several spellings for one that a key keeps apart: case, blanks at the end, 24 hours and a day.
    folds: bool,
    /// The equality of the type, qualified, where it is none of the server's own.
    equality: Option<String>,
}

const TABLE: &str = "\
    SELECT c.oid, c.relkind::pg_catalog.text, c.relhasrules, pg_catalog.row_security_active(c.oid), \
           COALESCE(bool_or(t.tgtype & 4 = 4 AND t.tgtype & 66 > 0), false), \
           COALESCE(bool_or(t.tgtype & 16 = 16 AND t.tgtype & 66 > 0), false), \
           COALESCE(bool_or(t.tgtype & 8 = 8 AND t.tgtype & 66 > 0), false), \
           c.relhassubclass AND COALESCE(bool_or(t.tgtype & 6 = 6), false), \
           CASE WHEN c.relkind = 'r' AND (SELECT a.amname FROM pg_catalog.pg_am a WHERE a.oid = c.relam) = 'heap' \
                THEN pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::pg_catalog.int8 \
                WHEN c.relkind = 'p' AND NOT EXISTS ( \
                    SELECT FROM pg_catalog.pg_partition_tree(c.oid) p JOIN pg_catalog.pg_class l ON l.oid = p.relid \
                    LEFT JOIN pg_catalog.pg_am a ON a.oid = l.relam \
                    WHERE p.isleaf AND (l.relkind <> 'r' OR a.amname IS DISTINCT FROM 'heap')) THEN 0 END \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_trigger t ON NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 1 = 1 \
         AND (t.tgrelid = c.oid OR (c.relkind = 'p' AND t.tgrelid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(c.oid) p))) \
    WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f', 'v', 'm') \
    GROUP BY c.oid, c.relkind, c.relhasrules, c.relhassubclass, c.relam";

/// The types whose equality is that of their bytes: no scale, no case, no negative zero, no blanks.
const COLUMNS: &str = "\
    SELECT a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attidentity = 'a', NOT a.attnotnull, \
           b.oid IN (16, 17, 18, 19, 20, 21, 23, 26, 829, 774, 1082, 1083, 1114, 1184, 2950) OR b.typtype = 'e' \
               OR (b.oid IN (25, 1043) AND COALESCE((SELECT l.collisdeterministic FROM pg_catalog.pg_collation l \
                                                      WHERE l.oid = a.attcollation), true)), \
           CASE WHEN bn.nspname <> 'pg_catalog' AND b.typtype = 'b' THEN \
               (SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname) \
                FROM pg_catalog.pg_opclass oc \
                JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype \
                     AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3 \
                JOIN pg_catalog.pg_operator o ON o.oid = ao.amopopr JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
                WHERE oc.opcmethod = 403 AND oc.opcdefault AND oc.opcintype = b.oid LIMIT 1) END, \
           b.oid NOT IN (700, 701, 1700) \
    FROM pg_catalog.pg_attribute a \
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
    JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
    JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace \
    WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped";

impl Facts {
    /// Asks the server about a table.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such table any more.
    pub(crate) async fn read(connection: &mut PgConnection, name: &TableName) -> Result<Facts> {
        let row = sqlx::query(TABLE)
            .bind(name.schema.as_deref().unwrap_or("public"))
            .bind(&name.name)
            .fetch_optional(&mut *connection)
            .await
            .map_err(from_sqlx)?
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "the target has no such table").with("table", name))?;
        let get = |i: usize| row.try_get::<bool, _>(i).map_err(from_sqlx);
        let oid: sqlx::postgres::types::Oid = row.try_get(0).map_err(from_sqlx)?;
        let kind: String = row.try_get(1).map_err(from_sqlx)?;
        let mut columns = HashMap::new();
        for column in sqlx::query(COLUMNS).bind(oid).fetch_all(connection).await.map_err(from_sqlx)? {
            let get = |i: usize| column.try_get::<bool, _>(i).map_err(from_sqlx);
            let facts = ColumnFacts {
                type_sql: column.try_get(1).map_err(from_sqlx)?,
                identity_always: get(2)?,
                nullable: get(3)?,
                exact: get(4)?,
                folds: get(6)? && !get(4)?,
                equality: column.try_get(5).map_err(from_sqlx)?,
            };
            columns.insert(column.try_get(0).map_err(from_sqlx)?, facts);
        }
        Ok(Facts {
            qualified: quote_table(name),
            only: if kind == "r" { "ONLY " } else { "" },
            only_by_key: if kind == "r" && !get(7)? { "ONLY " } else { "" },
            blocks: row.try_get(8).map_err(from_sqlx)?,
            rules: get(2)?,
            row_security: get(3)?,
            insert_triggers: get(4)?,
            update_triggers: get(5)?,
            delete_triggers: get(6)?,
            columns,
        })
    }

    /// Whether this session's role sees all rows of the table.
    pub(crate) async fn is_readable(&self, connection: &mut PgConnection) -> Result<bool> {
        if self.row_security {
            return Ok(false);
        }
        let query = sqlx::query_scalar("SELECT pg_catalog.has_table_privilege($1, 'SELECT')");
        query.bind(&self.qualified).fetch_one(connection).await.map_err(from_sqlx)
    }

    /// Whether rows can be streamed straight into the table, and the server's count of them be believed.
    pub(crate) fn takes_copy(&self) -> bool {
        !self.rules && !self.row_security && !self.insert_triggers
    }

    /// Whether what a statement did can only be told by looking at the table afterwards.
    pub(crate) fn must_read_back(&self) -> bool {
        self.rules || self.insert_triggers || self.update_triggers
    }

    /// Returns a column's facts.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if there is no such column any more.
    pub(crate) fn column(&self, name: &str) -> Result<&ColumnFacts> {
        self.columns.get(name).ok_or_else(|| {
            Error::new(ErrorKind::Schema, "the target's table has no such column")
                .with("table", &self.qualified)
                .with("column", name)
        })
    }

    /// A condition that a column of the table, as `t`, equals an expression the way the column's own type has it.
    pub(crate) fn equals(&self, name: &str, other: &str) -> Result<String> {
        let column = self.column(name)?;
        let own = format!("t.{}", quote_ident(name));
        let equal = self.equal(name, &own, other)?;
        Ok(if column.nullable { format!("({equal} OR ({own} IS NULL AND {other} IS NULL))") } else { equal })
    }

    /// A condition that two expressions, of which one has the type of a column, are equal the way this type has it.
    pub(crate) fn equal(&self, name: &str, one: &str, other: &str) -> Result<String> {
        let operator = self.column(name)?.equality.as_deref().unwrap_or("=");
        Ok(format!("{one} {operator} {other}"))
    }

    /// A condition beside [`Facts::equals`] that both spell the value to the letter, where equality asks for less.
    ///
    /// Numbers of different scale stay equal: a key does not keep their zeros.
    pub(crate) fn spelled_alike(&self, name: &str, other: &str) -> Result<Option<String>> {
        let own = format!("t.{}", quote_ident(name));
        let letters = |value: &str| format!("({value}::pg_catalog.text COLLATE pg_catalog.\"C\")");
        Ok(self.column(name)?.folds.then(|| format!("{} = {}", letters(&own), letters(other))))
    }
}
