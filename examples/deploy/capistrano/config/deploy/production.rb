server "shop.example.com", user: "deploy", roles: %w[app]
