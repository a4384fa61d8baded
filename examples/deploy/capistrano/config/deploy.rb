set :application, "shop"
set :repo_url, "git@git.example.com:shop.git"
set :branch, "main"
set :deploy_to, "/srv/shop"
set :keep_releases, 5
set :serving, {} # the target of `current` before the deploy, by host

namespace :deploy do
  # Ends the deploy unless the exit code is 0; Capistrano prints what the command has written.
  task :reload do
    on roles(:app) do
      execute :tideover, :reload, fetch(:application)
    end
  end

  task :remember_current do
    on roles(:app) do |host|
      fetch(:serving)[host.to_s] = capture(:readlink, current_path, raise_on_non_zero_exit: false).strip
    end
  end

  # All hosts go back to the release before: `current`, which tideover resolves at every start, and
  # the code, where the new one serves already (other hosts) or nothing does (exit code 8).
  task :restore_current do
    on roles(:app) do |host|
      before = fetch(:serving)[host.to_s].to_s
      next if before.empty? || before == capture(:readlink, current_path).strip
      execute :ln, "-sfn", before, "#{current_path}.new"
      execute :mv, "-T", "#{current_path}.new", current_path
      execute :tideover, :reload, fetch(:application)
    end
  end

  before :publishing, :remember_current
  after :publishing, :reload
  after :failed, :restore_current
  after :finishing_rollback, :reload
end
