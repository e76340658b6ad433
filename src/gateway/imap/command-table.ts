// Every command by its name. A new one is a file in commands/ and a row here.

import type { Command } from "./command.ts";
import { deleteAcl, getAcl, listRights, myRights, setAcl } from "./commands/acl.ts";
import { append } from "./commands/append.ts";
import { authenticate } from "./commands/authenticate.ts";
import { cancelUpdate } from "./commands/cancel-update.ts";
import { capability } from "./commands/capability.ts";
import { close, unselect } from "./commands/close.ts";
import { compress } from "./commands/compress.ts";
import { copy, move, uidCopy, uidMove } from "./commands/copy.ts";
import { create } from "./commands/create.ts";
import { remove } from "./commands/delete.ts";
import { enable } from "./commands/enable.ts";
import { esearch } from "./commands/esearch.ts";
import { expunge, uidExpunge } from "./commands/expunge.ts";
import { fetch, uidFetch } from "./commands/fetch.ts";
import { id } from "./commands/id.ts";
import { idle } from "./commands/idle.ts";
import { list, lsub } from "./commands/list.ts";
import { login } from "./commands/login.ts";
import { logout } from "./commands/logout.ts";
import { getMetadata, setMetadata } from "./commands/metadata.ts";
import { namespace } from "./commands/namespace.ts";
import { check, noop } from "./commands/noop.ts";
import { notify } from "./commands/notify.ts";
import { getQuota, getQuotaRoot } from "./commands/quota.ts";
import { rename } from "./commands/rename.ts";
import { replace, uidReplace } from "./commands/replace.ts";
import { search, uidSearch } from "./commands/search.ts";
import { examine, select } from "./commands/select.ts";
import { sort, uidSort } from "./commands/sort.ts";
import { starttls } from "./commands/starttls.ts";
import { status } from "./commands/status.ts";
import { store, uidStore } from "./commands/store.ts";
import { subscribe, unsubscribe } from "./commands/subscribe.ts";
import { thread, uidThread } from "./commands/thread.ts";
import { unauthenticate } from "./commands/unauthenticate.ts";

const commands: readonly Command[] = [
  append,
  authenticate,
  cancelUpdate,
  capability,
  check,
  close,
  compress,
  copy,
  create,
  deleteAcl,
  enable,
  esearch,
  examine,
  expunge,
  fetch,
  getAcl,
  getMetadata,
  getQuota,
  getQuotaRoot,
  id,
  idle,
  list,
  listRights,
  login,
  logout,
  lsub,
  move,
  myRights,
  namespace,
  noop,
  notify,
  remove,
  rename,
  replace,
  search,
  select,
  setAcl,
  setMetadata,
  sort,
  starttls,
  status,
  store,
  subscribe,
  thread,
  uidCopy,
  uidExpunge,
  uidFetch,
  uidMove,
  uidReplace,
  uidSearch,
  uidSort,
  uidStore,
  uidThread,
  unauthenticate,
  unselect,
  unsubscribe,
];

/** Upper-case name to command; `UID FETCH` for UID forms. */
export const commandTable: ReadonlyMap<string, Command> = new Map(
  commands.map((each) => [each.name, each]),
);
