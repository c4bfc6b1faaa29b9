import dev.openfeature.contrib.providers.flagd.Config;
import dev.openfeature.contrib.providers.flagd.FlagdOptions;
import dev.openfeature.contrib.providers.flagd.FlagdProvider;
import dev.openfeature.sdk.FlagEvaluationDetails;
import dev.openfeature.sdk.ImmutableContext;
import dev.openfeature.sdk.OpenFeatureAPI;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.StringJoiner;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The official Java provider, asked over standard input: Client flagd PORT. */
public class Client {
    static final long PATIENCE_NS = 30_000_000_000L;
    static dev.openfeature.sdk.Client client;

    public static void main(String[] arguments) throws Exception {
        FlagdOptions options = FlagdOptions.builder()
                .resolverType(Config.Resolver.IN_PROCESS).host("127.0.0.1").port(Integer.parseInt(arguments[1]))
                .deadline(10_000).retryBackoffMs(100).streamDeadlineMs(0).build();
        OpenFeatureAPI api = OpenFeatureAPI.getInstance();
        api.setProviderAndWait(new FlagdProvider(options));
        client = api.getClient();
        say("answer", "\"ready\"");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                say("answer", text(line, "do").equals("treated") ? treated(line) : seen(line));
            } catch (Exception error) {
                say("error", "\"" + error.toString().replaceAll("[\"\\\\\n]", "'") + "\"");
            }
        }
        Runtime.getRuntime().halt(0);
    }

    static String treated(String question) {
        StringJoiner users = new StringJoiner(",", "[", "]");
        for (int user = 0; user < Integer.parseInt(text(question, "users")); user++) {
            if ("treatment".equals(details(text(question, "flag"), user).getVariant())) users.add(String.valueOf(user));
        }
        return users.toString();
    }

    static String seen(String question) throws Exception {
        long untilNs = System.nanoTime() + PATIENCE_NS;
        while (true) {
            String version = details(text(question, "flag"), 0).getFlagMetadata().getString("version");
            if (text(question, "version").equals(version)) return String.valueOf(System.currentTimeMillis());
            if (System.nanoTime() > untilNs) throw new IllegalStateException("still sees " + version);
            Thread.sleep(1);
        }
    }

    static FlagEvaluationDetails<String> details(String flag, int user) {
        return client.getStringDetails(flag, "", new ImmutableContext("user-" + user));
    }

    /** A field of a question: small objects, written by tests. */
    static String text(String question, String field) {
        Matcher found = Pattern.compile("\"" + field + "\": \"?([^\",}]*)").matcher(question);
        return found.find() ? found.group(1) : "";
    }

    static void say(String field, String json) {
        System.out.println("{\"" + field + "\": " + json + "}");
    }
}
