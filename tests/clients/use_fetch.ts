/** What an integrator does with the types of openapi-typescript. Argument: the server's address. */
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2] });

function check(isRight: boolean, found: unknown): asserts isRight {
  if (!isRight) throw new Error(JSON.stringify(found));
}

const made: string[] = [];
for (let n = 0; n < 3; n++) {
  const { data, error } = await client.POST("/api/jobs", {
    body: { type: "echo", payload: { hello: "world" } },
  });
  check(data !== undefined, error);
  made.push(data.id);
}

let job: components["schemas"]["Job"] | undefined;
for (let n = 0; job?.status !== "completed"; n++) {
  check(n < 400, job);
  await new Promise((resolve) => setTimeout(resolve, 50));
  job = (await client.GET("/api/jobs/{jobId}", { params: { path: { jobId: made[0] } } })).data;
}
const result = job.result as { hello: string };
check(result.hello === "world", result);

const found = new Set<string>();
let cursor: string | undefined;
do {
  const page = await client.GET("/api/jobs", { params: { query: { limit: 2, cursor } } });
  for (const one of page.data ?? []) found.add(one.id);
  cursor = page.response.headers.get("X-Next-Cursor") ?? undefined;
} while (cursor !== undefined);
check(made.every((id) => found.has(id)), [...found]);

const refused = await client.POST("/api/jobs", { body: { type: "no-such-type" } });
check(refused.response.status === 422, refused.error);
check(refused.error?.code === "unknown_job_type", refused.error);
check(refused.error.errors?.type?.[0] !== undefined, refused.error);

const absent = await client.GET("/api/jobs/{jobId}", {
  params: { path: { jobId: "00000000-0000-0000-0000-000000000000" } },
});
check(absent.error?.code === "job_not_found", absent.error);
