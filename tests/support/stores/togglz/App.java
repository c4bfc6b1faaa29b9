import java.util.Map;
import java.util.stream.IntStream;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.http.HttpMethod;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.core.userdetails.UsernameNotFoundException;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.servlet.function.RouterFunction;
import org.springframework.web.servlet.function.RouterFunctions;
import org.springframework.web.servlet.function.ServerResponse;
import org.togglz.core.manager.FeatureManager;
import org.togglz.core.user.SimpleFeatureUser;
import org.togglz.core.user.UserProvider;
import org.togglz.core.util.NamedFeature;

/**
 * An application that keeps its features in Togglz, as teams run them: the actuator behind a name and a password, of which
 * the reader's may look and not write. {@code /treated?flag=F} says how many of 1,000 users have a feature.
 */
@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
public class App {
    private static final ThreadLocal<String> WHO = new ThreadLocal<>();

    public static void main(String[] arguments) {
        SpringApplication.run(App.class, arguments);
    }

    @Bean
    UserProvider userProvider() {
        return () -> WHO.get() == null ? null : new SimpleFeatureUser(WHO.get());
    }

    /** Not Spring's own manager: that hashes passwords with bcrypt at the first login, and each request takes 80 ms. */
    @Bean
    UserDetailsService users() {
        var roles = Map.of("guardian", "WRITER", "reader", "READER");
        return name -> {
            if (!roles.containsKey(name)) {
                throw new UsernameNotFoundException(name);
            }
            return User.withUsername(name).password("{noop}not-a-secret").roles(roles.get(name)).build();
        };
    }

    @Bean
    SecurityFilterChain security(HttpSecurity http) throws Exception {
        return http
            .authorizeHttpRequests(asked -> asked
                .requestMatchers("/treated").permitAll()
                .requestMatchers(HttpMethod.POST, "/actuator/**").hasRole("WRITER")
                .anyRequest().authenticated())
            .csrf(csrf -> csrf.disable())
            .httpBasic(Customizer.withDefaults())
            .build();
    }

    @Bean
    RouterFunction<ServerResponse> treated(FeatureManager features) {
        return RouterFunctions.route().GET("/treated", request -> {
            var feature = new NamedFeature(request.param("flag").orElseThrow());
            var count = IntStream.range(0, 1000).filter(number -> {
                WHO.set("user-" + number);
                return features.isActive(feature);
            }).count();
            return ServerResponse.ok().body(Map.of("treated", count));
        }).build();
    }
}
