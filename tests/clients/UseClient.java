import java.util.*;
import org.openapitools.client.*;
import org.openapitools.client.api.JobsApi;
import org.openapitools.client.model.*;

/** What an integrator does with openapi-generator's Java client. Argument: the server's address. */
public class UseClient {
    public static void main(String[] arguments) throws Exception {
        ApiClient client = new ApiClient();
        client.updateBaseUri(arguments[0]);
        JobsApi jobs = new JobsApi(client);

        Set<UUID> made = new HashSet<>();
        Job job = null;
        for (int n = 0; n < 3; n++) {
            job = jobs.createJob(new JobRequest().type("echo").payload(Map.of("hello", "world")), null);
            made.add(job.getId());
        }
        for (int n = 0; job.getStatus() != Job.StatusEnum.COMPLETED; n++) {
            check(n < 400, job);
            Thread.sleep(50);
            job = jobs.getJob(job.getId());
        }
        check(Map.of("hello", "world").equals(job.getResult()), job.getResult());

        Set<UUID> found = new HashSet<>();
        String cursor = null;
        do {
            ApiResponse<List<Job>> page = jobs.listJobsWithHttpInfo(
                2, cursor, null, null, null, null, null, null, null, null, null, null,
                null, null, null, null, null, null, null, null, null, null, null, null);
            for (Job one : page.getData()) found.add(one.getId());
            List<String> next = page.getHeaders().get("x-next-cursor");
            cursor = next == null ? null : next.get(0);
        } while (cursor != null);
        check(found.containsAll(made), found);

        try {
            jobs.createJob(new JobRequest().type("no-such-type"), null);
            check(false, "created");
        } catch (ApiException error) {
            check(error.getCode() == 422 && error.getResponseBody().contains("unknown_job_type"), error);
        }
        try {
            jobs.getJob(new UUID(0, 0));
            check(false, "found");
        } catch (ApiException error) {
            check(error.getCode() == 404 && error.getResponseBody().contains("job_not_found"), error);
        }
    }

    private static void check(boolean isRight, Object found) {
        if (!isRight) throw new AssertionError(String.valueOf(found));
    }
}
