package javax.annotation;

/** What the generated sources are marked with; Java has it no more, and a build takes it from a library. */
public @interface Generated {
    String value();

    String date() default "";

    String comments() default "";
}
