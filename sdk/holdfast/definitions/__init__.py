"""What is declared of steps and workflows: names, options, signatures. Below the code that declares and that runs."""
