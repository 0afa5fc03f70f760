//! Parquet, a group of rows at a time: memory is that of one group.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::{Cell, Columns, Kind, RowError, Sink};

/// Rows held before they are written: large enough to compress well, some tens of MiB.
const GROUP_ROWS: usize = 100_000;

pub(super) struct Parquet<'o> {
    writer: SerializedFileWriter<Box<dyn Write + Send + 'o>>,
    columns: Columns,
    cells: Vec<Vec<Cell>>,
}

impl<'o> Parquet<'o> {
    pub(super) fn new(out: Box<dyn Write + Send + 'o>, columns: Columns) -> Result<Self, RowError> {
        let fields = columns
            .iter()
            .map(|(name, kind)| {
                let (physical, logical) = match kind {
                    Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
                    Kind::Int => (Physical::INT64, None),
                    Kind::Float => (Physical::DOUBLE, None),
                };
                Type::primitive_type_builder(name, physical)
                    .with_repetition(Repetition::OPTIONAL)
                    .with_logical_type(logical)
                    .build()
                    .map(Arc::new)
            })
            .collect::<Result<_, _>>()?;
        let schema = Type::group_type_builder("row").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { writer, columns, cells: vec![Vec::new(); columns.len()] })
    }

    fn flush(&mut self) -> Result<(), RowError> {
        if self.cells.first().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for ((_, kind), cells) in self.columns.iter().zip(&mut self.cells) {
            let cells = std::mem::take(cells);
            match kind {
                Kind::Text => write::<ByteArrayType>(&mut group, cells, |cell| match cell {
                    Cell::Text(text) => Some(ByteArray::from(text.into_bytes())),
                    _ => None,
                })?,
                Kind::Int => write::<Int64Type>(&mut group, cells, |cell| match cell {
                    Cell::Int(value) => Some(value),
                    _ => None,
                })?,
                Kind::Float => write::<DoubleType>(&mut group, cells, |cell| match cell {
                    Cell::Float(value) => Some(value),
                    _ => None,
                })?,
            }
        }
        group.close()?;
        Ok(())
    }
}

fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Box<dyn Write + Send + '_>>,
    cells: Vec<Cell>,
    value: impl Fn(Cell) -> Option<T::T>,
) -> Result<(), RowError> {
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    let values: Vec<Option<T::T>> = cells.into_iter().map(value).collect();
    let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
    let present: Vec<T::T> = values.into_iter().flatten().collect();
    column.typed::<T>().write_batch(&present, Some(&levels), None)?;
    column.close()?;
    Ok(())
}

impl Sink for Parquet<'_> {
    fn row(&mut self, row: Vec<Cell>) -> Result<(), RowError> {
        for (column, cell) in self.cells.iter_mut().zip(row) {
            column.push(cell);
        }
        if self.cells.first().is_some_and(|c| c.len() >= GROUP_ROWS) {
            self.flush()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), RowError> {
        self.flush()?;
        // Writes the footer and flushes.
        self.writer.close()?;
        Ok(())
    }
}
