import { Damage } from "./disk-records.ts";
import type { DiskRecord } from "./disk-records.ts";

/**
 * A reader of LMDB's file format (data version 2, 64-bit little-endian) that believes nothing: every
 * page number, offset and length is checked before it is used. LMDB itself follows them blindly, so that
 * one flipped bit can crash the process, bring back an older version of a page or let the next write land
 * on a page in use. The log is therefore read and checked here first; LMDB opens only what passed.
 */
export interface Scan {
  /** The number of the last committed transaction. */
  readonly transaction: number;
  /** In the order of their keys. Keys and values are views into the pages read. */
  readonly records: readonly DiskRecord[];
}

/** The file: its length, and `length` bytes from `offset` on (all of them lie inside the file). */
export interface PageSource {
  readonly size: number;
  read(offset: number, length: number): Buffer;
}

interface Tree {
  readonly depth: number;
  readonly branches: number;
  readonly leaves: number;
  readonly overflows: number;
  readonly entries: number;
  readonly root: number;
}

interface Meta {
  readonly pageSize: number;
  readonly free: Tree;
  readonly main: Tree;
  readonly lastPage: number;
  readonly transaction: number;
}

interface Node {
  readonly flags: number;
  readonly key: Buffer;
  /** Where the node's payload begins in its page. */
  readonly data: number;
  /** Of a leaf: the length of its value. Of a branch: the child's page. */
  readonly low: number;
}

interface Walk {
  readonly source: PageSource;
  readonly meta: Meta;
  /** One byte a page: FREE or USED once it is known to be so. */
  readonly used: Uint8Array;
}

interface Counts {
  branches: number;
  leaves: number;
  overflows: number;
}

const MAGIC = 0xbe_ef_c0_de;
const DATA_VERSION = 2;
const HEADER = 24;
const META_BYTES = HEADER + 144;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const META = 0x08;
const NODE_HEADER = 8;
const BIG_DATA = 0x01;
const INTEGER_KEYS = 0x08;
const NO_PAGE = -1;
const MAX_DEPTH = 32;
const USED = 1;
const FREE = 2;
/** A transaction counts pages at the file's end that it then had no use for, and does not write them. */
const MAX_UNWRITTEN_PAGES = 1024;
const TWO_32 = 2 ** 32;

/** Reads and checks the whole file. Throws Damage that says what is wrong and where. */
export function scanPages(source: PageSource): Scan {
  const meta = readMeta(source);
  const pages = Math.floor(source.size / meta.pageSize);
  if (meta.lastPage >= pages + MAX_UNWRITTEN_PAGES) {
    throw new Damage(`its meta page counts ${meta.lastPage + 1} pages, but the file has ${pages}`);
  }
  const used = new Uint8Array(meta.lastPage + 1);
  used.fill(USED, 0, 2);
  const walk: Walk = { source, meta, used };
  const records = readTree(walk, meta.main, "log");
  checkFreePages(walk, readTree(walk, meta.free, "free list"));
  return { transaction: meta.transaction, records };
}

/** The newer of the two meta pages, once both are plausible: commit N writes page N % 2 and nothing else. */
function readMeta(source: PageSource): Meta {
  if (source.size < 2 * META_BYTES) throw new Damage("its file is cut off before the second page");
  const first = readMetaPage(source, 0, 0);
  if (source.size < first.pageSize + META_BYTES)
    throw new Damage("its file is cut off before the second page");
  const second = readMetaPage(source, 1, first.pageSize);
  if (first.pageSize !== second.pageSize)
    throw new Damage("its two meta pages differ in the size of a page");
  const [older, newer] = first.transaction > second.transaction ? [second, first] : [first, second];
  const atRest = first.transaction === 0 && second.transaction === 0;
  const slot = newer === first ? 0 : 1;
  if (!atRest && (newer.transaction !== older.transaction + 1 || newer.transaction % 2 !== slot)) {
    throw new Damage(
      `its meta pages are of the transactions ${String(first.transaction)} and ${String(second.transaction)}, which do not follow each other`,
    );
  }
  return newer;
}

function readMetaPage(source: PageSource, number: number, offset: number): Meta {
  const page = source.read(offset, META_BYTES);
  const name = `meta page ${String(number)}`;
  if (word(page, 0) !== number || page.readUInt16LE(18) !== META)
    throw new Damage(`${name} is not a meta page`);
  const body = page.subarray(HEADER);
  if (body.readUInt32LE(0) !== MAGIC) throw new Damage(`${name} does not begin like an LMDB file`);
  const version = body.readUInt32LE(4);
  if (version !== DATA_VERSION)
    throw new Damage(`${name} is of LMDB's data version ${String(version)}`);
  const pageSize = body.readUInt32LE(24);
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) {
    throw new Damage(`${name} has the impossible page size ${String(pageSize)}`);
  }
  // Flags steer how LMDB opens the file and compares keys: only those that orch sets are acceptable.
  if (
    body.readUInt16LE(28) !== INTEGER_KEYS ||
    body.readUInt32LE(72) !== 0 ||
    body.readUInt16LE(76) !== 0
  ) {
    throw new Damage(`${name} has unknown flags`);
  }
  if (word(body, 8) !== 0) throw new Damage(`${name} asks for a fixed address`);
  return {
    pageSize,
    free: readTreeHead(body, 24, name),
    main: readTreeHead(body, 72, name),
    lastPage: word(body, 120),
    transaction: word(body, 128),
  };
}

function readTreeHead(body: Buffer, at: number, name: string): Tree {
  const depth = body.readUInt16LE(at + 6);
  const root =
    body.readBigUInt64LE(at + 40) === 0xff_ff_ff_ff_ff_ff_ff_ffn ? NO_PAGE : word(body, at + 40);
  if (depth > MAX_DEPTH || (depth === 0) !== (root === NO_PAGE))
    throw new Damage(`${name} has an impossible tree`);
  return {
    depth,
    branches: word(body, at + 8),
    leaves: word(body, at + 16),
    overflows: word(body, at + 24),
    entries: word(body, at + 32),
    root,
  };
}

/** All records of a tree in the order of the keys, which only the log's tree keeps bytewise. */
function readTree(walk: Walk, tree: Tree, name: string): DiskRecord[] {
  const records: DiskRecord[] = [];
  const counts: Counts = { branches: 0, leaves: 0, overflows: 0 };
  if (tree.root !== NO_PAGE) visit(walk, tree.root, tree.depth, records, counts);
  if (
    records.length !== tree.entries ||
    counts.branches !== tree.branches ||
    counts.leaves !== tree.leaves ||
    counts.overflows !== tree.overflows
  ) {
    throw new Damage(
      `its ${name} has ${String(records.length)} records, but the meta page counts ${String(tree.entries)}`,
    );
  }
  return records;
}

function visit(
  walk: Walk,
  number: number,
  depth: number,
  records: DiskRecord[],
  counts: Counts,
): void {
  const { meta, source } = walk;
  claim(walk, number, 1);
  const page = source.read(number * meta.pageSize, meta.pageSize);
  const flags = depth === 1 ? LEAF : BRANCH;
  if (word(page, 0) !== number || page.readUInt16LE(16) !== 0 || page.readUInt16LE(18) !== flags) {
    throw new Damage(`page ${String(number)} has the header of another page`);
  }
  if (word(page, 8) > meta.transaction)
    throw new Damage(`page ${String(number)} is of a later transaction`);
  const nodes = readNodes(page, number, depth > 1);
  if (depth === 1) {
    counts.leaves++;
    for (const node of nodes)
      records.push({ key: node.key, value: readValue(walk, page, number, node, counts) });
    return;
  }
  counts.branches++;
  // A branch's separator keys are all that LMDB compares on its way down: they must agree with what is below.
  for (const [index, node] of nodes.entries()) {
    const before = records.length;
    visit(walk, pageOfBranch(node), depth - 1, records, counts);
    const first = records[before];
    if (first === undefined) throw new Damage(`page ${String(number)} has an empty child`);
    if (index > 0) checkSeparator(node.key, records[before - 1], first, number);
  }
}

function checkSeparator(
  separator: Buffer,
  left: DiskRecord | undefined,
  right: DiskRecord,
  number: number,
): void {
  const integers = separator.length === 8;
  const compare = integers ? compareIntegers : compareBytes;
  if (
    (left !== undefined && compare(left.key, separator) >= 0) ||
    compare(separator, right.key) > 0
  ) {
    throw new Damage(`page ${String(number)} leads to the wrong child`);
  }
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** The free list's keys are native integers; the log's keys never have their length. */
function compareIntegers(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== 8 || b.length !== 8) return 1;
  return word(Buffer.from(a), 0) - word(Buffer.from(b), 0);
}

function readNodes(page: Buffer, number: number, branch: boolean): Node[] {
  const end = page.length - HEADER;
  const lower = page.readUInt16LE(20);
  const upper = page.readUInt16LE(22);
  if (lower === 0 || lower % 2 !== 0 || lower > upper || upper > end) {
    throw new Damage(`page ${String(number)} has an impossible layout`);
  }
  const nodes: Node[] = [];
  let bytes = 0;
  for (let at = 0; at < lower; at += 2) {
    const start = page.readUInt16LE(HEADER + at);
    if (start < upper || start % 2 !== 0 || start + NODE_HEADER > end) {
      throw new Damage(`page ${String(number)} has a record outside of it`);
    }
    const node = HEADER + start;
    const flags = page.readUInt16LE(node + 4);
    const data = node + NODE_HEADER + page.readUInt16LE(node + 6);
    const low = page.readUInt32LE(node);
    const size = data - node + (branch ? 0 : (flags & BIG_DATA) === 0 ? low : HEADER);
    if (start + size > end) throw new Damage(`page ${String(number)} has a record outside of it`);
    bytes += size + (size % 2);
    nodes.push({ flags, key: page.subarray(node + NODE_HEADER, data), data, low });
  }
  // The records fill the page's end without holes; anything else means that two of them overlap.
  if (bytes !== end - upper) throw new Damage(`page ${String(number)} has overlapping records`);
  return nodes;
}

function pageOfBranch(node: Node): number {
  return node.flags * TWO_32 + node.low;
}

function readValue(walk: Walk, page: Buffer, number: number, node: Node, counts: Counts): Buffer {
  if (node.flags === 0) return page.subarray(node.data, node.data + node.low);
  if (node.flags !== BIG_DATA)
    throw new Damage(`page ${String(number)} has a record of an unknown kind`);
  const { meta, source } = walk;
  const first = word(page, node.data);
  const pages = word(page, node.data + 16);
  if (pages !== Math.floor((HEADER - 1 + node.low) / meta.pageSize) + 1) {
    throw new Damage(`page ${String(number)} has a record of a wrong length`);
  }
  if (word(page, node.data + 8) > meta.transaction)
    throw new Damage(`page ${String(number)} is of a later transaction`);
  claim(walk, first, pages);
  counts.overflows += pages;
  const bytes = source.read(first * meta.pageSize, HEADER + node.low);
  if (
    word(bytes, 0) !== first ||
    bytes.readUInt16LE(18) !== OVERFLOW ||
    bytes.readUInt32LE(20) !== pages
  ) {
    throw new Damage(`page ${String(first)} has the header of another page`);
  }
  if (word(bytes, 8) > meta.transaction)
    throw new Damage(`page ${String(first)} is of a later transaction`);
  return bytes.subarray(HEADER);
}

/** Marks pages as used; each may be used once. */
function claim(walk: Walk, first: number, count: number): void {
  const last = first + count - 1;
  if (first < 2 || last > walk.meta.lastPage) {
    throw new Damage(`it refers to page ${String(last)}, which the file does not have`);
  }
  for (let page = first; page <= last; page++) {
    if (walk.used[page] !== 0) throw new Damage(`page ${String(page)} is used twice`);
    walk.used[page] = USED;
  }
}

/**
 * No page in use may be listed as free, and none twice: the next write would land on it. A record of the
 * free list is a count and that many words: 0 (nothing), a page, or a negative length and the first page
 * of a run.
 */
function checkFreePages(walk: Walk, lists: readonly DiskRecord[]): void {
  let newest = 0;
  for (const { key, value } of lists) {
    // Each is filed under the transaction that freed the pages, or a lower number once they were merged.
    const filed = key.length === 8 ? word(Buffer.from(key), 0) : 0;
    if (filed <= newest || filed > walk.meta.transaction) {
      throw new Damage("its free list is out of order");
    }
    newest = filed;
    const words = Buffer.from(value.buffer, value.byteOffset, value.length);
    const aligned = words.length >= 8 && words.length % 8 === 0;
    const count = aligned ? word(words, 0) : Number.POSITIVE_INFINITY;
    if (count > words.length / 8 - 1) throw new Damage("its free list has a broken record");
    for (let at = 1; at <= count; at++) {
      const item = words.readBigInt64LE(at * 8);
      if (item === 0n) continue;
      const run = item < 0n ? Number(-item) : 1;
      if (item < 0n) at++;
      if (at > count) throw new Damage("its free list has a broken record");
      freeRun(walk, word(words, at * 8), run);
    }
  }
}

function freeRun(walk: Walk, first: number, run: number): void {
  const last = first + run - 1;
  if (first < 2 || last > walk.meta.lastPage) {
    throw new Damage(`its free list names page ${last}, which there is not`);
  }
  for (let page = first; page <= last; page++) {
    if (walk.used[page] === USED) throw new Damage(`page ${page} is both in use and free`);
    if (walk.used[page] === FREE) throw new Damage(`page ${page} is free twice`);
    walk.used[page] = FREE;
  }
}

/** A 64-bit word; what does not fit a safe integer is no number of a page, a transaction or a count. */
function word(bytes: Buffer, at: number): number {
  const value = bytes.readUInt32LE(at + 4) * TWO_32 + bytes.readUInt32LE(at);
  if (!Number.isSafeInteger(value))
    throw new Damage(`it holds the impossible number ${String(value)}`);
  return value;
}
