import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.util.JavacTask;
import com.sun.tools.javac.api.JavacTaskPool;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.management.ManagementFactory;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import javax.tools.Diagnostic;
import javax.tools.DiagnosticCollector;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/**
 * A Java compiler that stays; compilers.py says what it is asked and answers. Its arguments are javac's options.
 *
 * <p>JavacTaskPool (the one behind jshell) keeps what the compiler knows of the JDK and forgets each program's classes.
 * A source that is no UTF-8 is declined, and so is one in a package, whose classes would hide those of a library in the
 * same package from later programs, and one on which the compiler itself fails: then this process ends, too,
 * as nobody knows in what state it is. It also ends when the classes of a correct program cannot be written.
 */
public final class ResidentCompiler {
    private static final int DECLINED = -1;
    private static boolean generates;

    public static void main(String[] options) throws IOException {
        DataInputStream in = new DataInputStream(System.in);
        DataOutputStream out = new DataOutputStream(new FileOutputStream(FileDescriptor.out));
        System.setOut(System.err);
        // One for all programs: a compiler that stays keeps its first file manager.
        Memory memory = new Memory(
                ToolProvider.getSystemJavaCompiler().getStandardFileManager(null, Locale.ROOT, StandardCharsets.UTF_8));
        JavacTaskPool pool = new JavacTaskPool(1);
        while (true) {
            int nameSize;
            try {
                nameSize = in.readInt();
            } catch (EOFException end) {
                return;
            }
            int sourceSize = in.readInt();
            String name = new String(in.readNBytes(nameSize), StandardCharsets.UTF_8);
            ByteBuffer source = ByteBuffer.wrap(in.readNBytes(sourceSize));
            long before = cpuNanos();
            memory.classes.clear();
            generates = false;
            DiagnosticCollector<JavaFileObject> said = new DiagnosticCollector<>();
            try {
                Source file = new Source(name, StandardCharsets.UTF_8.newDecoder().decode(source).toString());
                pool.getTask(null, memory, said, List.of(options), null, List.of(file), task -> compile(task, said));
            } catch (CharacterCodingException | Declined notForUs) {
                answer(out, DECLINED, 0, "", Map.of());
                continue;
            } catch (Throwable broken) {
                broken.printStackTrace();
                answer(out, DECLINED, 0, "", Map.of());
                System.exit(1);
            }
            StringBuilder words = new StringBuilder();
            said.getDiagnostics().forEach(one -> words.append(one).append('\n'));
            boolean failed = hasErrors(said);
            long micros = (cpuNanos() - before) / 1000;
            answer(out, failed ? 1 : 0, micros, words.toString(), failed ? Map.of() : memory.classes);
            if (failed && generates) {
                System.exit(1); // a class beyond the format's limits is left half written, and met by the next program
            }
        }
    }

    private static Void compile(JavacTask task, DiagnosticCollector<JavaFileObject> said) {
        try {
            for (CompilationUnitTree unit : task.parse()) {
                if (unit.getPackageName() != null) {
                    throw new Declined();
                }
            }
            task.analyze();
            generates = !hasErrors(said);
            task.generate();
            return null;
        } catch (IOException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    private static boolean hasErrors(DiagnosticCollector<?> said) {
        return said.getDiagnostics().stream().anyMatch(one -> one.getKind() == Diagnostic.Kind.ERROR);
    }

    private static long cpuNanos() {
        return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    }

    private static void answer(
            DataOutputStream out, int code, long micros, String words, Map<String, ByteArrayOutputStream> files)
            throws IOException {
        byte[] text = words.getBytes(StandardCharsets.UTF_8);
        ByteArrayOutputStream buffer = new ByteArrayOutputStream();
        DataOutputStream message = new DataOutputStream(buffer);
        message.writeInt(code);
        message.writeLong(micros);
        message.writeInt(text.length);
        message.writeInt(files.size());
        for (Map.Entry<String, ByteArrayOutputStream> file : files.entrySet()) {
            message.writeInt(file.getKey().getBytes(StandardCharsets.UTF_8).length);
            message.writeInt(file.getValue().size());
        }
        message.write(text);
        for (String name : files.keySet()) {
            message.write(name.getBytes(StandardCharsets.UTF_8));
        }
        for (ByteArrayOutputStream content : files.values()) {
            content.writeTo(message);
        }
        buffer.writeTo(out);
        out.flush();
    }

    /** The plain command is to compile this program. */
    private static final class Declined extends RuntimeException {}

    /** The program, as a file. */
    private static final class Source extends SimpleJavaFileObject {
        private final String name;
        private final String text;

        Source(String name, String text) {
            super(URI.create("string:///program"), Kind.SOURCE);
            this.name = name;
            this.text = text;
        }

        @Override
        public String getName() {
            return name;
        }

        @Override
        public boolean isNameCompatible(String simpleName, Kind kind) {
            return name.equals(simpleName + kind.extension);
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }
    }

    /** Class files, kept instead of written. */
    private static final class Memory extends ForwardingJavaFileManager<StandardJavaFileManager> {
        private final Map<String, ByteArrayOutputStream> classes = new LinkedHashMap<>();

        Memory(StandardJavaFileManager files) {
            super(files);
        }

        @Override
        public JavaFileObject getJavaFileForOutput(
                Location location, String className, JavaFileObject.Kind kind, FileObject sibling) {
            ByteArrayOutputStream content = new ByteArrayOutputStream();
            classes.put(className.replace('.', '/') + ".class", content);
            return new SimpleJavaFileObject(URI.create("memory:///class"), kind) {
                @Override
                public OutputStream openOutputStream() {
                    return content;
                }
            };
        }
    }
}
