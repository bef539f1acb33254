/**
 * The feature level that this orch understands. The cluster has one of its own in the replicated state: no log entry
 * may hold what a level above it brought, so that nodes of two versions of orch can share a log while one after
 * the other is replaced. The founder's level is the first; only the command `feature-level` raises it, once every
 * member's facts say that it understands the new one; a node below it is not admitted.
 *
 * To add a level: raise this number and say below what it brings (a new command, a new field of a command, another
 * rule of apply). Apply must decide by `ClusterState.featureLevel`, never by this constant: every replica must make the
 * same of an entry, whichever version it runs. Nothing of a new level may be proposed before the cluster is at it.
 *
 * - 1: everything up to and including the commands that command.ts lists now.
 */
export const FEATURE_LEVEL = 1;
