//! Writing the file of a store from its beginning to its end: no page is touched twice, and what is held is one page of each level
//! of a tree.
//!
//! The first pages say where the root bucket is and how many pages there are, which is known at the end. So whoever writes goes
//! through all of it twice: once only to count, and once in earnest.

use super::{BRANCH, BUCKET, ELEMENT, LEAF, MAGIC, PAGE_HEADER, VERSION, sum_of};
use bytes::Bytes;

/// Bytes of a page. etcd takes the operating system's; a reader finds it in the file.
pub(super) const PAGE: usize = 4096;
const META: u16 = 4;
const FREELIST: u16 = 16;
/// The pages before all trees: two descriptions and the empty list of free pages.
const FIRST: u64 = 3;
const FREELIST_AT: u64 = 2;
/// A branch has no fewer children before it is full: bbolt cannot delete below one that has a single child, and the last of a full one
/// goes to the next.
const CHILDREN_MIN: usize = 3;
/// Nor has a leaf fewer pairs, as with bbolt: pairs that are each a little longer than a page would leave most of every second page empty.
const PAIRS_MIN: usize = 2;
/// The root of a bucket that has no page.
pub(super) const NOWHERE: u64 = 0;
/// How many bytes are given on at once.
const PIECE: usize = 64 << 10;

/// Takes what is written; false if nobody wants more.
pub(super) type Take<'t> = dyn FnMut(Bytes) -> bool + 't;

/// Nobody wants more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unwanted;

/// Where the file's pages are, as the first time through tells the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// The page of the root bucket.
    pub(super) root: u64,
    /// How many pages there are.
    pub(super) pages: u64,
}

impl Layout {
    /// Bytes of the file.
    pub(super) fn bytes(self) -> u64 {
        self.pages * PAGE as u64
    }
}

/// The pages on their way.
pub(super) struct Pages<'t, 'o> {
    take: &'t mut Take<'o>,
    /// The number of the next.
    next: u64,
    /// What is written and not given on yet.
    held: Vec<u8>,
    /// They are only counted.
    counts: bool,
    /// Bytes since somebody was asked whether they are wanted.
    unasked: usize,
}

impl<'t, 'o> Pages<'t, 'o> {
    /// Only counts. Asks now and then, with nothing, whether to go on.
    pub(super) fn counted(take: &'t mut Take<'o>) -> Self {
        Self { take, next: FIRST, held: Vec::new(), counts: true, unasked: 0 }
    }

    /// Writes a file of this layout.
    pub(super) fn written(take: &'t mut Take<'o>, layout: Layout) -> Result<Self, Unwanted> {
        let mut pages = Self { take, next: 0, held: Vec::new(), counts: false, unasked: 0 };
        for number in 0..2 {
            pages.page(META, 0, &description(layout, number))?;
        }
        pages.page(FREELIST, 0, &[])?;
        Ok(pages)
    }

    /// One page, with as many behind it as its content takes; its number.
    fn page(&mut self, kind: u16, count: usize, content: &[u8]) -> Result<u64, Unwanted> {
        let (number, bytes) = (self.next, PAGE_HEADER + content.len());
        let taken = bytes.div_ceil(PAGE);
        self.next += taken as u64;
        self.unasked += taken * PAGE;
        if !self.counts {
            self.held.extend(number.to_le_bytes());
            self.held.extend(kind.to_le_bytes());
            self.held.extend((count as u16).to_le_bytes());
            self.held.extend((taken as u32 - 1).to_le_bytes());
            self.held.extend_from_slice(content);
            self.held.resize(self.held.len() + taken * PAGE - bytes, 0);
        }
        if self.unasked >= PIECE { self.give().map(|()| number) } else { Ok(number) }
    }

    fn give(&mut self) -> Result<(), Unwanted> {
        self.unasked = 0;
        if (self.take)(std::mem::take(&mut self.held).into()) { Ok(()) } else { Err(Unwanted) }
    }

    /// Writes the root bucket, of buckets with these roots, and ends. An empty one has none: it stands in the root bucket itself, as a
    /// page that has a head alone.
    pub(super) fn end(mut self, mut buckets: Vec<(&str, u64)>) -> Result<Layout, Unwanted> {
        buckets.sort_unstable();
        let mut tree = Tree::new();
        for (name, root) in buckets {
            let mut value = root.to_le_bytes().to_vec();
            value.extend(0_u64.to_le_bytes());
            if root == NOWHERE {
                value.extend(0_u64.to_le_bytes());
                value.extend(LEAF.to_le_bytes());
                value.resize(value.len() + size_of::<u16>() + size_of::<u32>(), 0);
            }
            tree.put(&mut self, 0, name.as_bytes(), &Value::Pair(BUCKET, &value))?;
        }
        let root = tree.end(&mut self)?;
        self.give()?;
        Ok(Layout { root, pages: self.next })
    }
}

/// What a page of description says of the file.
fn description(layout: Layout, number: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for n in [VERSION, PAGE as u32, 0] {
        out.extend(n.to_le_bytes());
    }
    // The root bucket with its sequence, the list of free pages, the pages in all, and the number of the transaction.
    for n in [layout.root, 0, FREELIST_AT, layout.pages, number] {
        out.extend(n.to_le_bytes());
    }
    let sum = sum_of(&out);
    out.extend(sum.to_le_bytes());
    out
}

enum Value<'v> {
    /// Flags and the value.
    Pair(u32, &'v [u8]),
    /// The page.
    Child(u64),
}

/// One bucket, of pairs that come in the order of their keys.
pub(super) struct Tree {
    /// The page that is being filled on each level, the leaves' first.
    levels: Vec<Node>,
}

/// A page that is being filled: its elements, and the keys and values that belong to them.
#[derive(Default)]
struct Node {
    elements: Vec<Element>,
    data: Vec<u8>,
}

struct Element {
    flags: u32,
    child: u64,
    key: u32,
    value: u32,
    /// Where its key begins in the data.
    at: u32,
}

impl Tree {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { levels: vec![Node::default()] }
    }

    /// The next pair.
    pub(super) fn add(
        &mut self,
        pages: &mut Pages<'_, '_>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Unwanted> {
        self.put(pages, 0, key, &Value::Pair(0, value))
    }

    fn put(
        &mut self,
        pages: &mut Pages<'_, '_>,
        level: usize,
        key: &[u8],
        value: &Value<'_>,
    ) -> Result<(), Unwanted> {
        if level == self.levels.len() {
            self.levels.push(Node::default());
        }
        let node = &mut self.levels[level];
        let least = if level == 0 { PAIRS_MIN } else { CHILDREN_MIN };
        if node.elements.len() >= least && node.size() + ELEMENT + key.len() + value.len() > PAGE {
            // A branch keeps its last child for the next page, so that none has but one.
            let kept = if level == 0 { Node::default() } else { node.without_last() };
            let full = std::mem::replace(node, kept);
            let number = full.write(pages, level)?;
            self.put(pages, level + 1, full.first_key(), &Value::Child(number))?;
        }
        self.levels[level].push(key, value);
        Ok(())
    }

    /// Writes what is left; the number of the root's page.
    pub(super) fn end(mut self, pages: &mut Pages<'_, '_>) -> Result<u64, Unwanted> {
        let mut level = 0;
        loop {
            let node = std::mem::take(&mut self.levels[level]);
            let number = node.write(pages, level)?;
            level += 1;
            if level == self.levels.len() {
                return Ok(number);
            }
            self.put(pages, level, node.first_key(), &Value::Child(number))?;
        }
    }
}

impl Value<'_> {
    fn len(&self) -> usize {
        if let Value::Pair(_, value) = self { value.len() } else { 0 }
    }
}

impl Node {
    fn size(&self) -> usize {
        PAGE_HEADER + self.elements.len() * ELEMENT + self.data.len()
    }

    fn push(&mut self, key: &[u8], value: &Value<'_>) {
        let (flags, child, bytes) = match value {
            Value::Pair(flags, value) => (*flags, 0, *value),
            Value::Child(page) => (0, *page, &[][..]),
        };
        let at = self.data.len() as u32;
        self.elements.push(Element { flags, child, key: key.len() as u32, value: bytes.len() as u32, at });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(bytes);
    }

    fn first_key(&self) -> &[u8] {
        self.elements.first().map_or(&[], |first| &self.data[..first.key as usize])
    }

    /// Takes the last child out; a page with that alone.
    fn without_last(&mut self) -> Self {
        let mut alone = Self::default();
        if let Some(last) = self.elements.pop() {
            alone.push(&self.data[last.at as usize..], &Value::Child(last.child));
            self.data.truncate(last.at as usize);
        }
        alone
    }

    fn write(&self, pages: &mut Pages<'_, '_>, level: usize) -> Result<u64, Unwanted> {
        let count = self.elements.len();
        let mut content = Vec::with_capacity(count * ELEMENT + self.data.len());
        for (n, element) in self.elements.iter().enumerate() {
            // From the element itself on.
            let at = ((count - n) * ELEMENT) as u32 + element.at;
            let Element { flags, child, key, value, .. } = element;
            if level == 0 {
                content.extend([*flags, at, *key, *value].into_iter().flat_map(u32::to_le_bytes));
            } else {
                content.extend([at, *key].into_iter().flat_map(u32::to_le_bytes));
                content.extend(child.to_le_bytes());
            }
        }
        content.extend_from_slice(&self.data);
        pages.page(if level == 0 { LEAF } else { BRANCH }, count, &content)
    }
}
