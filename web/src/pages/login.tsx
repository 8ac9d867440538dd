import { useState } from "preact/hooks";
import { ApiError, login, logout } from "../api";
import { Form, Text } from "../ui/parts";
import { PasswordForm } from "./settings";

export function Login() {
  const [user, setUser] = useState("admin");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [asked, setAsked] = useState(false);
  const submit = async () => {
    try {
      await login(user, password, code);
    } catch (error) {
      if (error instanceof ApiError && error.problem.field === "code") setAsked(true);
      throw error;
    }
  };
  return (
    <main class="login" tabIndex={-1}>
      <h1><span class="logo" aria-hidden="true" />Fairlead</h1>
      <Form submit={submit} button="Log in">
        {(error) => (
          <>
            <Text label="User" value={user} set={setUser} complete="username" error={error("user")} />
            <Text type="password" label="Password" value={password} set={setPassword} complete="current-password" error={error("password")} focus />
            {asked && <Text label="Code" value={code} set={setCode} complete="one-time-code" error={error("code")} hint="From your authenticator app." focus />}
          </>
        )}
      </Form>
      <p class="hint">The first password of <code>admin</code> is in the file <code>admin.password</code> of the console's state folder.</p>
    </main>
  );
}

export function FirstPassword() {
  return (
    <main class="login" tabIndex={-1}>
      <h1>A password of your own</h1>
      <p>The one you logged in with was made for you. Choose another.</p>
      <PasswordForm />
      <button type="button" class="plain" onClick={logout}>Log out</button>
    </main>
  );
}
