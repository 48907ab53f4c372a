import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's tools one after the other in one process, because a Java process takes seconds to start.
 *
 * A line on stdin is one command, the class and its arguments between 0x1f. The answer is whatever the tool printed, on
 * both of its streams in the order in which it did, and a line of 0x04 and the exit code. A tool that exits is held
 * where it calls exit, for good; its thread is one of a few that a test leaves behind.
 */
public final class ToolRunner {
    private static final long SECONDS_MAX = 120;

    public static void main(String[] unused) throws Exception {
        PrintStream answers = System.out;
        Target target = new Target();
        PrintStream stream = new PrintStream(target, true, StandardCharsets.UTF_8);
        System.setOut(stream);
        System.setErr(stream);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split("\u001f", -1);
            target.printed = new ByteArrayOutputStream();
            int code = run(words[0], Arrays.copyOfRange(words, 1, words.length));
            stream.flush();
            answers.write(target.printed.toByteArray());
            answers.print("\n\u0004" + code + "\n");
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static int run(String tool, String[] arguments) throws Exception {
        CompletableFuture<Integer> code = new CompletableFuture<>();
        Exit.Procedure held = (status, message) -> {
            code.complete(status);
            while (true) {
                try {
                    Thread.sleep(Long.MAX_VALUE);
                } catch (InterruptedException again) {
                    // Nobody who called exit goes on.
                }
            }
        };
        Exit.setExitProcedure(held);
        Exit.setHaltProcedure(held);
        Thread thread = new Thread(() -> {
            try {
                Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
                code.complete(0);
            } catch (Throwable error) {
                Throwable cause = error.getCause() == null ? error : error.getCause();
                System.err.println(cause);
                code.complete(1);
            }
        });
        thread.setDaemon(true);
        thread.start();
        return code.get(SECONDS_MAX, TimeUnit.SECONDS);
    }

    /** Whatever tools print goes to where the present command wants it. */
    private static final class Target extends OutputStream {
        volatile ByteArrayOutputStream printed = new ByteArrayOutputStream();

        @Override
        public void write(int b) {
            printed.write(b);
        }

        @Override
        public void write(byte[] bytes, int from, int count) {
            printed.write(bytes, from, count);
        }
    }
}
