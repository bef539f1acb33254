import { describe, expect, test } from "vitest";
import { parseText, problemsOf, webFile } from "./testing.ts";

/** A case: YAML lines, then its problems, each behind `=> `. Blank lines part the cases. */
function casesOf(text: string): readonly (readonly [string, readonly string[]])[] {
  return text
    .trim()
    .split("\n\n")
    .map((block) => {
      const lines = block.split("\n");
      const problems = lines.filter((line) => line.startsWith("=> ")).map((line) => line.slice(3));
      return [lines.filter((line) => !line.startsWith("=> ")).join("\n"), problems];
    });
}

// The keys of a service: they begin on line 3 in column 5.
const SERVICES = `
command: ''
=> 3:5 services.web: the command is empty, and there is no image

image:
=> 3:5 services.web.image: must be text, not nothing

image: 3
=> 3:12 services.web.image: must be text, not the number 3

image: ''
=> 3:12 services.web.image: the image's name is empty

image: Nginx:1 x
=> 3:12 services.web.image: "Nginx:1 x" is not the name of an image

imge: a
command: b
=> 3:5 services.web.imge: unknown key "imge"

image: a
command: [sleep, 3600]
=> 4:22 services.web.command[1]: must be text, not the number 3600

image: a
command: {a: b}
=> 4:14 services.web.command: must be a text or a list, not a map

image: a
environment: {A: [1]}
=> 4:22 services.web.environment.A: must be text, not a list

image: a
environment: ['=x']
=> 4:19 services.web.environment[0]: "" is not a name for a variable

image: a
environment: A=b
=> 4:18 services.web.environment: must be a map, not the text "A=b"

image: a
working_dir: srv
=> 4:18 services.web.working_dir: "srv" is not an absolute path

image: a
ports: 80
=> 4:12 services.web.ports: must be a list, not the number 80

image: a
ports: [0]
=> 4:13 services.web.ports[0]: "0" is not a port or a pair of ports from 1 to 65535

image: a
ports: [65536:80]
=> 4:13 services.web.ports[0]: "65536:80" is not a port or a pair of ports from 1 to 65535

image: a
ports: ['80/sctp']
=> 4:13 services.web.ports[0]: "80/sctp" names no protocol that orch publishes

image: a
ports: ['127.0.0.1:80:80']
=> 4:13 services.web.ports[0]: "127.0.0.1:80:80" names a host address, which is not supported by this version of orch

image: a
ports: ['[::1]:80:80']
=> 4:13 services.web.ports[0]: "[::1]:80:80" names a host address, which is not supported by this version of orch

image: a
ports: ['8000-8001:80']
=> 4:13 services.web.ports[0]: the two ranges of "8000-8001:80" differ in length

image: a
ports: [1-65535]
=> 4:13 services.web.ports[0]: "1-65535" is more than 100 ports

image: a
ports: ['1000-1060', '2000-2060']
=> 4:26 services.web.ports[1]: a service publishes at most 100 ports

image: a
ports: ['80:1', '80:2']
=> 4:21 services.web.ports[1]: the host port 80/tcp is already taken by services.web.ports[0]

image: a
ports: [80, 80/tcp]
=> 4:17 services.web.ports[1]: the container port 80/tcp is published twice

image: a
ports: [{target: 80, mode: ingress}]
=> 4:32 services.web.ports[0].mode: the mode ingress is not supported by this version of orch

image: a
ports: [{published: 80}]
=> 4:13 services.web.ports[0]: a port needs a target

image: a
ports: [{target: 80, published: 80-90}]
=> 4:37 services.web.ports[0].published: "80-90" is not a port from 1 to 65535

image: a
volumes: ['./a:/b']
=> 4:15 services.web.volumes[0]: the path "./a" is relative to this machine's file

image: a
volumes: ['~/a:/b']
=> 4:15 services.web.volumes[0]: the path "~/a" is relative to this machine's file

image: a
volumes: [/b]
=> 4:15 services.web.volumes[0]: "/b" has no source: anonymous volumes are not supported

image: a
volumes: ['nope:/b']
=> 4:15 services.web.volumes[0]: the volume "nope" is not declared

image: a
volumes: ['data:b']
=> 4:15 services.web.volumes[0]: the target "b" is not an absolute path

image: a
volumes: ['data:/']
=> 4:15 services.web.volumes[0]: nothing can be mounted over /

image: a
volumes: ['data:/b:z']
=> 4:15 services.web.volumes[0]: the volume option "z" is not supported by this version of orch

image: a
volumes: ['data:/b', '/x:/b/']
=> 4:26 services.web.volumes[1]: /b/ is mounted twice

image: a
volumes: [{source: data, target: /b}]
=> 4:15 services.web.volumes[0]: a volume needs a type

image: a
volumes: [{type: npipe, target: /b}]
=> 4:22 services.web.volumes[0].type: the type npipe is not supported by this version of orch

image: a
volumes: [{type: bind, source: x, target: /b}]
=> 4:36 services.web.volumes[0].source: the path "x" is relative to this machine's file

image: a
volumes: [{type: tmpfs, source: x, target: /b}]
=> 4:37 services.web.volumes[0].source: source does not go with the type tmpfs

command: a
volumes: ['data:/b']
=> 4:14 services.web.volumes: a process has no file system of its own to mount volumes in

image: a
restart: false
=> 4:14 services.web.restart: must be a text or a number, not the boolean false

image: a
restart: sometimes
=> 4:14 services.web.restart: must not be "sometimes"

image: a
deploy: {replicas: 1e9}
=> 4:24 services.web.deploy.replicas: must be at most 100000, not 1000000000

image: a
deploy: {replicas: -1}
=> 4:24 services.web.deploy.replicas: must be at least 0, not -1

image: a
deploy: {replicas: 1.5}
=> 4:24 services.web.deploy.replicas: must be a whole number, not the fraction 1.5

image: a
deploy: {replicas: '3'}
=> 4:24 services.web.deploy.replicas: must be a whole number, not the text "3"

image: a
deploy: {replicas: true}
=> 4:24 services.web.deploy.replicas: must be a whole number, not the boolean true

image: a
deploy: {replicas: }
=> 4:14 services.web.deploy.replicas: must be a whole number, not nothing

image: a
deploy: {mode: global}
=> 4:20 services.web.deploy.mode: the mode global is not supported by this version of orch

image: a
deploy: {resources: {limits: {cpus: 0}}}
=> 4:41 services.web.deploy.resources.limits.cpus: a number of CPUs must be above 0

image: a
deploy: {resources: {limits: {cpus: 0.0001}}}
=> 4:41 services.web.deploy.resources.limits.cpus: "0.0001" has more than three decimals

image: a
deploy: {resources: {limits: {cpus: -1}}}
=> 4:41 services.web.deploy.resources.limits.cpus: "-1" is not a number of CPUs

image: a
deploy: {resources: {limits: {memory: 5m}}}
=> 4:43 services.web.deploy.resources.limits.memory: a memory limit must be at least 6m, not "5m"

image: a
deploy: {resources: {limits: {memory: 5x}}}
=> 4:43 services.web.deploy.resources.limits.memory: "5x" is not a size

image: a
deploy: {resources: {limits: {cpus: 1}, reservations: {cpus: 2}}}
=> 4:66 services.web.deploy.resources.reservations.cpus: the reservation is larger than the limit

image: a
deploy: {placement: {constraints: [node.role == manager]}}
=> 4:40 services.web.deploy.placement.constraints[0]: node.role is not supported

image: a
deploy: {placement: {constraints: [node.labels.a in b]}}
=> 4:40 services.web.deploy.placement.constraints[0]: the operator "in" is not supported by this version of orch

image: a
deploy: {placement: {constraints: [node.zone == b]}}
=> 4:40 services.web.deploy.placement.constraints[0]: "node.zone" is not an attribute of a node

image: a
deploy: {placement: {constraints: ['node.id ==']}}
=> 4:40 services.web.deploy.placement.constraints[0]: the constraint "node.id ==" needs a value

image: a
deploy: {restart_policy: {delay: 5}}
=> 4:38 services.web.deploy.restart_policy.delay: "5" is not a duration

image: a
stop_grace_period: 25h
=> 4:24 services.web.stop_grace_period: "25h" is longer than a day

image: a
x-orch: {driver: process}
=> 4:13 services.web.x-orch: the driver process runs no image

command: a
x-orch: {driver: docker}
=> 4:13 services.web.x-orch: the driver docker needs an image

image: a
x-orch: {driver: podman}
=> 4:22 services.web.x-orch.driver: must not be "podman"

image: a
deploy: {x-orch: {}}
=> 4:14 services.web.deploy.x-orch: x-orch does not belong here

image: a
image: b
=> 4:5 services.web.image: the key "image" stands here twice, first on line 3
`;

test.each(casesOf(SERVICES))("refuses the service %s", (body, expected) => {
  expect(expected).not.toEqual([]);
  expect(problemsOf(webFile(body))).toEqual(expected);
});

const FILES = `
- a
=> 1:1 : must be a map, not a list

name: a
=> 1:1 : the file has no services

services:
=> 1:1 services: there are no services

services: [a]
=> 1:11 services: must be a map, not a list

services: {Web.1: {image: a}}
=> 1:12 services.Web.1: "Web.1" is not a name for a job or a service

services: {web: nginx}
=> 1:17 services.web: must be a map, not the text "nginx"

services: {web: {image: !reset a}}
=> 1:25 : Unresolved tag: !reset

services: {a: {image: a}}
---
services: {b: {image: b}}
=> 2:1 : the file holds more than one YAML document

services: {a: {image: a, <<: b}}
=> 1:26 services.a.<<: << takes a map or a list of maps

services: {a: {image: a, ? [x] : b}}
=> 1:28 services.a: a key is not plain text

services: {a: {image: a, ports: ['1:1']}, b: {image: b, ports: ['1:2']}}
=> 1:65 services.b.ports[0]: the host port 1/tcp is already taken by services.a.ports[0]

services: {a: {image: a}}
x-orch: {priority: 3, foo: 1}
=> 2:10 x-orch.priority: priority is not supported by this version of orch
=> 2:23 x-orch.foo: unknown key "foo"

services: {a: {image: a}}
volumes: {v: {external: true}, w: {foo: 1}}
=> 2:15 volumes.v.external: external is not supported by this version of orch
=> 2:36 volumes.w.foo: unknown key "foo"

services: {a: {image: a}}
sevices: {}
=> 2:1 sevices: unknown key "sevices"
`;

test.each(casesOf(FILES))("refuses the file %s", (text, expected) => {
  expect(expected).not.toEqual([]);
  expect(problemsOf(text)).toEqual(expected);
});

// Those that a template would garble.
test.each([
  ["", "1:1 : compose.yaml is empty"],
  ["# nothing\n", "1:1 : compose.yaml is empty"],
  ["services: {web: }", "1:12 services.web: the service has neither an image nor a command"],
  ["services:\n\tweb: {}", "2:1 : Tabs are not allowed as indentation"],
  ["services:\n  web:\n    image: 'x", "3:14 : Missing closing 'quote"],
  ["services: {a: {image: *none}}", "1:23 services.a.image: no anchor &none before this"],
  ["services: &s {a: *s}", "1:18 services.a: *s is inside the anchor that it names"],
  ["services: {a: {image: '${TAG'}}", "1:23 services.a.image: a ${ has no closing }"],
  ["services: {a: {image: '${X?why}'}}", "1:23 services.a.image: the variable X is required: why"],
  ["services: {a: {image: $}}", "1:23 services.a.image: a $ is followed by no variable name"],
  ["services: {a: {image: ${TAG}}}", "1:24 : Unexpected flow-map-start at node end"],
  ["services: {a: {image: 'a:${NO}'}}", '1:23 services.a.image: "a:" is not the name of an image'],
  [
    "services: {a: {image: a, environment: {B: 'x', C: \"\\0\"}}}",
    "1:51 services.a.environment.C: the text holds a NUL or broken Unicode",
  ],
  [
    "services: {a: {image: a, deploy: {replicas: '${EMPTY}'}}}",
    '1:45 services.a.deploy.replicas: must be a whole number, not the text ""',
  ],
  [
    "services: {a: {command: 'echo \"x'}}",
    '1:25 services.a.command: "echo \\"x" ends inside quotes or after a backslash',
  ],
])("refuses %j", (text, expected) => {
  expect(problemsOf(text)).toEqual([expected]);
});

test("a file that is not Unicode is refused", () => {
  expect(problemsOf("services: {web: {image: a\ud800}}")).toEqual([
    "1:1 : the file is not valid Unicode text",
  ]);
});

test("a mistyped key is answered with the one that is meant", () => {
  const outcome = parseText(
    webFile("image: a\nenviroment: {}\nhealthchek: {}\nnothing_like_it: 1"),
  );
  if (outcome.kind === "parsed") throw new Error("must be refused");
  expect(outcome.problems.map(({ hint }) => hint)).toEqual([
    "Did you mean environment?",
    "Did you mean healthcheck?",
    expect.stringContaining("Known here: image, command"),
  ]);
});

test.each(["3", "[at-most-one]", "''", "never", "~"])(
  "a partition of %s is answered with those there are",
  (value) => {
    const outcome = parseText(webFile(`image: a\nx-orch: {partition: ${value}}`));
    if (outcome.kind === "parsed") throw new Error("must be refused");
    expect(outcome.problems.map(({ path, hint }) => ({ path, hint }))).toEqual([
      { path: "services.web.x-orch.partition", hint: "Known: at-least-one, at-most-one." },
    ]);
  },
);

test("every problem of a file is found, in the file's order", () => {
  const file = webFile("build: .\nports: [0]\ndeploy: {replicas: x}", "networks: {}");
  expect(problemsOf(file).map((line) => line.split(" ")[0])).toEqual([
    "3:5",
    "3:5",
    "4:13",
    "5:24",
    "6:1",
  ]);
});

// Keys of the Compose Specification, by the section they stand in, that this version does not take.
const REFUSED: readonly (readonly [string, string])[] = [
  [
    "services.web",
    "build env_file user hostname labels init tty stdin_open read_only stop_signal platform pull_policy",
  ],
  [
    "services.web",
    "expose networks network_mode extra_hosts dns dns_search dns_opt domainname mac_address links",
  ],
  [
    "services.web",
    "external_links configs secrets healthcheck depends_on scale mem_limit mem_reservation cpus shm_size",
  ],
  [
    "services.web",
    "ulimits cap_add cap_drop privileged devices gpus security_opt sysctls group_add ipc pid tmpfs",
  ],
  [
    "services.web",
    "logging userns_mode cgroup_parent cgroup profiles extends container_name develop annotations attach",
  ],
  [
    "services.web",
    "blkio_config cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares",
  ],
  [
    "services.web",
    "cpuset credential_spec device_cgroup_rules isolation label_file mem_swappiness memswap_limit models",
  ],
  [
    "services.web",
    "oom_kill_disable oom_score_adj pids_limit post_start pre_stop provider pull_refresh_after runtime",
  ],
  ["services.web", "storage_opt use_api_socket uts volumes_from"],
  ["services.web.deploy", "update_config rollback_config labels endpoint_mode"],
  ["services.web.deploy.placement", "preferences max_replicas_per_node"],
  ["services.web.deploy.resources.limits", "pids"],
  ["services.web.deploy.resources.reservations", "generic_resources devices"],
  [
    "services.web.x-orch",
    "type datacenters priority affinity schedule progress_deadline canary shared",
  ],
  ["", "include networks configs secrets models"],
  ["x-orch", "datacenters priority rebalance"],
  ["volumes.data", "driver driver_opts external labels name"],
];

describe.each(REFUSED)("in %s", (section, keys) => {
  test.each(keys.split(" "))("%s is refused by name", (key) => {
    const path = section === "" ? [key] : [...section.split("."), key];
    const lines = path.map(
      (part, depth) => `${"  ".repeat(depth)}${part}:${depth === path.length - 1 ? " {}" : ""}`,
    );
    const rest = section.startsWith("services") ? [] : ["services: {other: {image: a}}"];
    const found = problemsOf([...lines, ...rest].join("\n"));
    const place = `${path.length}:${2 * path.length - 1}`;
    expect(found).toContain(
      `${place} ${path.join(".")}: ${key} is not supported by this version of orch`,
    );
  });
});
