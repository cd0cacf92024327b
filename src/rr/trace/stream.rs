//! rr's streams and header: packed Cap'n Proto messages in brotli blocks. The only module that uses these two
//! formats.
//!
//! Fields are addressed by their position in rr's schema (`src/rr_trace.capnp`). Positions never change in Cap'n
//! Proto, so building this needs no schema compiler. A message of a later rr with more fields can be read too, and
//! keeps the additional fields when it is written again.

use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result};
use capnp::message::{self, HeapAllocator, ReaderOptions};
use capnp::private::layout::{ElementSize, PointerBuilder, PointerReader, StructBuilder, StructReader, StructSize};
use capnp::serialize::OwnedSegments;
use capnp::serialize_packed;
use capnp::traits::{FromPointerBuilder, FromPointerReader};

/// The largest block that is decompressed. rr writes blocks of 64 KiB and of 1 MiB.
const LARGEST_BLOCK: usize = 8 << 20;

/// The block size that rr uses for `mmaps`.
const BLOCK: usize = 64 << 10;

/// rr's compression level, and brotli's default window.
const QUALITY: u32 = 5;
const WINDOW: u32 = 22;

/// Decompresses a stream block by block. Before each block are two 32-bit words: the compressed size, then the
/// uncompressed size (`CompressedWriter.h`; the comment in rr's schema has them in the wrong order).
pub struct Blocks<R> {
    from: R,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> Blocks<R> {
    pub fn new(from: R) -> Self {
        Self { from, block: Vec::new(), at: 0 }
    }

    /// Reads the next block; nothing happens at the end of the stream.
    fn next(&mut self) -> io::Result<()> {
        self.block.clear();
        self.at = 0;
        let mut sizes = [0; 8];
        match self.from.read(&mut sizes[..1])? {
            0 => return Ok(()),
            _ => self.from.read_exact(&mut sizes[1..])?,
        }
        let size = |n: usize| u32::from_le_bytes([sizes[n], sizes[n + 1], sizes[n + 2], sizes[n + 3]]) as usize;
        let (packed, held) = (size(0), size(4));
        if held == 0 || held > LARGEST_BLOCK || packed > 2 * LARGEST_BLOCK {
            return Err(invalid(format!("a block claims to hold {held} bytes in {packed}")));
        }
        // The stated size is not trusted: memory is allocated only for bytes that are really there.
        let packed = (&mut self.from).take(packed as u64);
        brotli::Decompressor::new(packed, 4096).take(held as u64 + 1).read_to_end(&mut self.block)?;
        if self.block.len() != held {
            return Err(invalid(format!("a block holds {} bytes and claims {held}", self.block.len())));
        }
        Ok(())
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: Read> BufRead for Blocks<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.block.len() {
            self.next()?;
        }
        Ok(&self.block[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let amount = there.len().min(buffer.len());
        buffer[..amount].copy_from_slice(&there[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

/// One message of a stream.
pub struct Message(message::Reader<OwnedSegments>);

/// Reads the next message; `None` at the end.
pub fn read(from: &mut impl BufRead) -> Result<Option<Message>> {
    let message = serialize_packed::try_read_message(from, ReaderOptions::new()).context("not a message of rr")?;
    Ok(message.map(Message))
}

impl Message {
    pub fn fields(&self) -> Result<Fields<'_>> {
        self.0.get_root().context("not a message of rr")
    }
}

/// The fields of a struct, addressed by position.
pub struct Fields<'a>(StructReader<'a>);

impl<'a> FromPointerReader<'a> for Fields<'a> {
    fn get_from_pointer(reader: &PointerReader<'a>, default: Option<&'a [capnp::Word]>) -> capnp::Result<Self> {
        reader.get_struct(default).map(Fields)
    }
}

impl<'a> Fields<'a> {
    pub fn u16(&self, place: usize) -> u16 {
        self.0.get_data_field(place)
    }

    pub fn i32(&self, place: usize) -> i32 {
        self.0.get_data_field(place)
    }

    pub fn u32(&self, place: usize) -> u32 {
        self.0.get_data_field(place)
    }

    pub fn i64(&self, place: usize) -> i64 {
        self.0.get_data_field(place)
    }

    pub fn u64(&self, place: usize) -> u64 {
        self.0.get_data_field(place)
    }

    /// A bit with a default value, which is used if the bit is absent.
    pub fn bit(&self, place: usize, default: bool) -> bool {
        self.0.get_bool_field_mask(place, default)
    }

    pub fn bytes(&self, place: usize) -> Result<&'a [u8]> {
        Ok(self.0.get_pointer_field(place).get_data(None)?)
    }

    pub fn text(&self, place: usize) -> Result<OsString> {
        Ok(OsString::from_vec(self.bytes(place)?.to_vec()))
    }

    pub fn texts(&self, place: usize) -> Result<Vec<OsString>> {
        let list = self.0.get_pointer_field(place).get_list(ElementSize::Pointer, None)?;
        let texts = capnp::data_list::Reader::new(list);
        texts.iter().map(|text| Ok(OsString::from_vec(text?.to_vec()))).collect()
    }

    pub fn fields(&self, place: usize) -> Result<Fields<'a>> {
        Ok(Fields(self.0.get_pointer_field(place).get_struct(None)?))
    }
}

/// A message that is written again with other values.
pub struct MessageEdit(message::Builder<HeapAllocator>);

/// A struct with space for the fields of a mapping in rr 5.6, so that a write is never out of bounds.
struct Written<'a>(StructBuilder<'a>);

const MAPPING: StructSize = StructSize { data: 11, pointers: 3 };

impl<'a> FromPointerBuilder<'a> for Written<'a> {
    fn init_pointer(builder: PointerBuilder<'a>, _: u32) -> Self {
        Written(builder.init_struct(MAPPING))
    }

    fn get_from_pointer(builder: PointerBuilder<'a>, default: Option<&'a [capnp::Word]>) -> capnp::Result<Self> {
        // A smaller struct is enlarged; a larger one is not changed.
        builder.get_struct(MAPPING, default).map(Written)
    }
}

impl MessageEdit {
    /// Copies a message about a mapping.
    pub fn of(mapping: &Message) -> Result<Self> {
        let mut builder = message::Builder::new_default();
        builder.set_root(mapping.0.get_root::<capnp::any_pointer::Reader>()?)?;
        Ok(Self(builder))
    }

    /// Sets the bytes that a field points to.
    pub fn set_bytes(&mut self, place: usize, bytes: &[u8]) -> Result<()> {
        assert!(place < usize::from(MAPPING.pointers), "a mapping has no such field");
        self.0.get_root::<Written>()?.0.get_pointer_field(place).set_data(bytes);
        Ok(())
    }

    /// Sets a 32-bit field.
    pub fn set_u32(&mut self, place: usize, value: u32) -> Result<()> {
        assert!(place < 2 * usize::from(MAPPING.data), "a mapping has no such field");
        self.0.get_root::<Written>()?.0.set_data_field(place, value);
        Ok(())
    }

    /// Appends the message to the uncompressed content of a stream.
    pub fn write(&self, to: &mut Vec<u8>) -> Result<()> {
        Ok(serialize_packed::write_message(to, &self.0)?)
    }
}

/// Compresses these bytes into the blocks of a stream.
pub fn blocks(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = Vec::new();
    for held in bytes.chunks(BLOCK) {
        let mut packed = Vec::new();
        let mut writer = brotli::CompressorWriter::new(&mut packed, 4096, QUALITY, WINDOW);
        writer.write_all(held)?;
        drop(writer);
        for size in [packed.len(), held.len()] {
            let size = u32::try_from(size).map_err(|_| invalid("a block is too large".into()))?;
            stream.extend_from_slice(&size.to_le_bytes());
        }
        stream.append(&mut packed);
    }
    Ok(stream)
}
