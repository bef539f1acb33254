import type { DiskImage } from "../../node/storage.ts";

/** The last entry that a disk holds, in its log or within its snapshot. */
export function lastOnDisk({ base, entries }: DiskImage): number {
  return base.index + entries.length;
}

/** Whether a disk holds the entry: in its log, or, once it is committed, within its snapshot. */
export function holdsOnDisk(image: DiskImage, index: number, term: number): boolean {
  if (index <= (image.snapshot?.index ?? 0)) return true;
  return image.entries[index - image.base.index - 1]?.term === term;
}
